import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What a log promises: entries that were synced, and appends that a crash may cut anywhere.
struct LogModel {
    /// Entry `baseIndex + 1` on; durable.
    private(set) var synced: [Entry] = []
    private var baseIndex: LogIndex = 0
    /// Appends since the last sync.
    private var group: [[Entry]] = []
    private(set) var hardState = HardState()
    /// A save that may or may not have happened.
    var pendingHardState: HardState?
    private var counter: UInt64 = 0
    private var term: Term = 1

    var entries: [Entry] { group.reduce(synced, superseded) }
    var lastIndex: LogIndex { baseIndex + UInt64(entries.count) }

    private func superseded(_ log: [Entry], by append: [Entry]) -> [Entry] {
        log.prefix(Int(append[0].index - baseIndex - 1)) + append
    }

    /// Makes new entries; sometimes they start before the end of the log.
    mutating func makeEntries(
        count: Int, maxPayload: Int, using generator: inout some RandomNumberGenerator
    ) -> [Entry] {
        var first = lastIndex + 1
        if first > baseIndex + 1, Int.random(in: 0..<5, using: &generator) == 0 {
            first -= UInt64.random(in: 1...min(8, first - baseIndex - 1), using: &generator)
            term += 1
        }
        return (0..<UInt64(count)).map { offset in
            counter += 1
            let size = Int.random(in: 0...maxPayload, using: &generator)
            var payload = ByteBuffer(integer: counter)
            payload.writeRepeatingByte(UInt8(truncatingIfNeeded: counter), count: size)
            let kind: EntryKind = Int.random(in: 0..<12, using: &generator) == 0 ? .configuration : .command
            return Entry(index: first + offset, term: term, kind: kind, payload: payload)
        }
    }

    mutating func append(_ entries: [Entry]) {
        group.append(entries)
    }

    mutating func sync() {
        synced = entries
        group = []
    }

    mutating func save(_ state: HardState) {
        hardState = state
        pendingHardState = nil
    }

    mutating func reset(toFollow index: LogIndex) {
        (synced, group, baseIndex) = ([], [], index)
    }

    /// Checks that `store` was recovered to a state that it may be in, which becomes the model's.
    mutating func adopt(
        _ store: LogStore, _ recovered: RecoveredLog, _ context: Comment
    ) throws(StorageError) {
        let found = try everything(in: store, recovered)
        var isAllowed = found == synced
        var log = synced
        for append in group where !isAllowed {
            for count in 1...append.count where !isAllowed {
                isAllowed = found == superseded(log, by: Array(append.prefix(count)))
            }
            log = superseded(log, by: append)
        }
        #expect(isAllowed, "\(context): found \(found.count) entries, \(synced.count) were synced")
        #expect(recovered.firstIndex == baseIndex + 1, context)
        #expect([hardState, pendingHardState].contains(recovered.hardState), context)
        #expect(recovered.termRuns == Self.termRuns(found), context)
        #expect(recovered.configurations == found.filter { $0.kind == .configuration }, context)
        (synced, group, hardState, pendingHardState) = (found, [], recovered.hardState, nil)
    }

    static func termRuns(_ entries: [Entry]) -> [TermRun] {
        entries.reduce(into: []) { runs, entry in
            if runs.last?.term != entry.term { runs.append(TermRun(firstIndex: entry.index, term: entry.term)) }
        }
    }
}

/// All live entries, read in portions.
func everything(in store: LogStore, _ recovered: RecoveredLog) throws(StorageError) -> [Entry] {
    var entries: [Entry] = []
    while recovered.firstIndex + UInt64(entries.count) <= recovered.lastIndex {
        let portion = try store.read(
            from: recovered.firstIndex + UInt64(entries.count), through: recovered.lastIndex, maxBytes: 3000)
        guard !portion.isEmpty else {
            Issue.record("entry \(recovered.firstIndex + UInt64(entries.count)) is not readable")
            break
        }
        entries += portion
    }
    return entries
}

let logDirectory = "/wal"

func openLog(
    _ fileSystem: any FileSystem, segmentBytes: Int = 4096
) throws(StorageError) -> (store: LogStore, recovered: RecoveredLog) {
    let (store, recovered) = try LogStore.open(
        directory: logDirectory, fileSystem: fileSystem, options: LogOptions(segmentBytes: segmentBytes))
    return (store, recovered)
}

/// A command entry whose payload tells its index.
func logEntry(_ index: LogIndex, term: Term = 1, bytes: Int = 40) -> Entry {
    Entry(
        index: index, term: term, kind: .command,
        payload: ByteBuffer(repeating: UInt8(truncatingIfNeeded: index), count: bytes))
}

/// The files of a directory, to be damaged and opened again and again.
struct DiskImage {
    var files: [String: [UInt8]]

    init(of fileSystem: MemoryFileSystem) throws {
        files = [:]
        for name in try fileSystem.list(logDirectory) {
            files[name] = fileSystem.contents(of: logDirectory + "/" + name)
        }
    }

    func restored() throws(StorageError) -> MemoryFileSystem {
        let fileSystem = MemoryFileSystem()
        try fileSystem.createDirectory(logDirectory)
        for (name, bytes) in files {
            let file = try fileSystem.open(logDirectory + "/" + name, .create)
            try file.write(ByteBuffer(bytes: bytes), at: 0)
            try file.sync()
        }
        try fileSystem.syncDirectory(logDirectory)
        return fileSystem
    }
}
