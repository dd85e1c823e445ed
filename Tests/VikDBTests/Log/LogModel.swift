import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What a log promises: entries that were synced, appends that a crash may cut anywhere, and a start that moves as far
/// as it may.
struct LogModel {
    /// Entry 1 on, discarded ones too; durable.
    private(set) var synced: [Entry] = []
    /// Where the log was last seen to start; it never goes back.
    private(set) var base = LogBase()
    /// How far the base may move.
    private(set) var discardable: LogIndex = 0
    /// Appends since the last sync.
    private var group: [[Entry]] = []
    private(set) var hardState = HardState()
    /// A save that may or may not have happened.
    var pendingHardState: HardState?
    private var counter: UInt64 = 0
    private var term: Term = 1

    var entries: [Entry] { group.reduce(synced, superseded) }
    var lastIndex: LogIndex { UInt64(entries.count) }

    private func superseded(_ log: [Entry], by append: [Entry]) -> [Entry] {
        log.prefix(Int(append[0].index - 1)) + append
    }

    /// Makes new entries; sometimes they start before the end of the log, sometimes the term grows among them.
    mutating func makeEntries(
        count: Int, maxPayload: Int, using generator: inout some RandomNumberGenerator
    ) -> [Entry] {
        var first = lastIndex + 1
        if first > base.index + 1, Int.random(in: 0..<5, using: &generator) == 0 {
            first -= UInt64.random(in: 1...min(8, first - base.index - 1), using: &generator)
            term += 1
        }
        return (0..<UInt64(count)).map { offset in
            counter += 1
            if Int.random(in: 0..<10, using: &generator) == 0 { term += 1 }
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

    mutating func allowDiscard(through index: LogIndex) {
        discardable = max(discardable, index)
    }

    /// Checks where `store` starts now.
    mutating func follow(_ store: LogStore, _ context: Comment) {
        let found = store.base
        #expect(found.index >= base.index && found.index <= discardable, context)
        #expect(Self.term(before: found.index + 1, in: entries) == found.term, context)
        base = found
    }

    private static func term(before index: LogIndex, in log: [Entry]) -> Term {
        index == 1 ? 0 : log[Int(index - 2)].term
    }

    /// Checks that `store` was recovered to a state that it may be in, which becomes the model's.
    mutating func adopt(
        _ store: LogStore, _ recovered: RecoveredLog, _ context: Comment
    ) throws(StorageError) {
        let found = try everything(in: store, recovered)
        let discarded = Int(recovered.firstIndex - 1)
        func isFound(_ log: [Entry]) -> Bool {
            log.count == discarded + found.count && log.dropFirst(discarded).elementsEqual(found)
                && Self.term(before: recovered.firstIndex, in: log) == recovered.baseTerm
        }
        var log = synced
        var match = isFound(log) ? log : nil
        for append in group where match == nil {
            for count in 1...append.count where match == nil {
                let candidate = superseded(log, by: Array(append.prefix(count)))
                if isFound(candidate) { match = candidate }
            }
            log = superseded(log, by: append)
        }
        #expect(
            match != nil,
            "\(context): found \(found.count) entries after \(discarded), \(synced.count) were synced")
        #expect(recovered.lastIndex == UInt64(discarded + found.count), context)
        #expect(UInt64(discarded) >= base.index && UInt64(discarded) <= discardable, context)
        #expect(store.base == LogBase(index: recovered.firstIndex - 1, term: recovered.baseTerm), context)
        #expect([hardState, pendingHardState].contains(recovered.hardState), context)
        #expect(recovered.termRuns == Self.termRuns(found), context)
        #expect(recovered.configurations == found.filter { $0.kind == .configuration }, context)
        synced = match ?? synced.prefix(discarded) + found
        (group, base, discardable) = ([], store.base, store.base.index)
        (hardState, pendingHardState) = (recovered.hardState, nil)
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

/// Bytes of the segment files that are there.
func segmentBytes(on fileSystem: MemoryFileSystem) throws(StorageError) -> UInt64 {
    guard fileSystem.exists(logDirectory) else { return 0 }
    var bytes: UInt64 = 0
    for name in try fileSystem.list(logDirectory) where name.hasSuffix(".log") {
        bytes += UInt64(fileSystem.contents(of: logDirectory + "/" + name)!.count)
    }
    return bytes
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
