import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// A node's store with files of every kind, cleanly closed: two segments of the log, an entry superseded, a compressed
/// table and one that is not, a manifest with an edit for each.
struct SmallStore {
    static let log = "/data/wal"
    static let tables = "/data/tables"

    /// All that a store holds.
    struct Contents: Equatable {
        var log: [Entry] = []
        var hardState = HardState()
        /// Of every key, by the engine itself.
        var hash: UInt64 = 0
        var values: [StoredValue?] = []
    }

    let fileSystem = MemoryFileSystem()
    let contents: Contents
    static let hardState = HardState(term: 3, vote: MemberID(rawValue: 9), commit: 52)
    private static let keys = (0..<24).map { Array("key\($0)".utf8) }

    static func engineOptions(_ compression: BlockCompression = .none) -> EngineOptions {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.blockBytes = 256
        options.blockCacheBytes = 1 << 20
        options.compression = compression
        return options
    }

    init() throws {
        var entries: [Entry] = []
        let member = Member(
            id: MemberID(rawValue: 9), store: StoreID(high: 1, low: 2), address: "localhost:8081", label: "node1")
        let configuration = Configuration(incarnation: Incarnation(high: 3, low: 4), members: [member]).encoded()
        for index in LogIndex(1)...52 {
            let key = Self.keys[Int(index * 5) % Self.keys.count]
            let (kind, payload): (EntryKind, ByteBuffer) =
                switch index {
                case 1: (.configuration, configuration)
                case 2, 30: (.noOp, ByteBuffer())
                case _ where index % 7 == 0: (.command, Command.delete(key: key))
                default:
                    (
                        .command,
                        Command.put(key: key, value: Array(String(repeating: "value \(index), ", count: 6).utf8))
                    )
                }
            entries.append(Entry(index: index, term: index < 30 ? 1 : 2, kind: kind, payload: payload))
        }
        for (compression, last) in [(BlockCompression.zlib, 26), (.none, 52)] {
            var random = SeededGenerator(1)
            let identity = try StoreIdentity.open(
                walDirectory: Self.log, tableDirectory: Self.tables, fileSystem: fileSystem, using: &random)
            let node = try Self.open(fileSystem, compression)
            for first in stride(from: Int(node.state.lastIndex), to: last, by: 4) {
                // Entries that another leader replaces.
                let lost = Entry(index: LogIndex(first + 1), term: 1, kind: .noOp)
                if first == 20 { try node.log.append([lost]) }
                try node.log.append(Array(entries[first..<min(first + 4, last)]))
                try node.log.sync()
            }
            try node.log.save(Self.hardState)
            _ = try node.engine.apply(Array(entries[Int(node.engine.appliedIndex)..<last]))
            try node.engine.flush()
            try node.log.close()
            withExtendedLifetime(identity) {}
        }
        contents = try Self.read(fileSystem.copy())
        try #require(contents.log == entries && contents.hardState == Self.hardState)
    }

    private static func open(
        _ fileSystem: MemoryFileSystem, _ compression: BlockCompression = .none
    ) throws(StorageError) -> RecoveredNode {
        try RecoveredNode.open(
            logDirectory: log, tableDirectory: tables, fileSystem: fileSystem,
            logOptions: LogOptions(segmentBytes: 4_096), engineOptions: engineOptions(compression))
    }

    /// Opens a store as a node does, applies what the tables lack, and reads everything.
    static func read(_ fileSystem: MemoryFileSystem) throws(StorageError) -> Contents {
        var random = SeededGenerator(1)
        let identity = try StoreIdentity.open(
            walDirectory: log, tableDirectory: tables, fileSystem: fileSystem, using: &random)
        let node = try open(fileSystem)
        var contents = Contents(hardState: node.state.hardState)
        var next = node.state.baseIndex + 1
        while next <= node.state.lastIndex {
            let entries = try node.log.read(from: next, through: node.state.lastIndex, maxBytes: 1 << 20)
            guard !entries.isEmpty else { break }
            contents.log += entries
            next += LogIndex(entries.count)
        }
        _ = try node.engine.apply(contents.log.filter { $0.index > node.engine.appliedIndex })
        let view = node.engine.view()
        contents.hash = try view.stateHash()
        for key in keys {
            guard case .value(let value) = try view.execute(.get(key: key)) else { continue }
            contents.values.append(value)
        }
        withExtendedLifetime(identity) {}
        return contents
    }

    /// All files but the locks, with their bytes.
    static func files(_ fileSystem: MemoryFileSystem) throws -> [(path: String, bytes: [UInt8])] {
        try [log, tables].flatMap { directory in
            try fileSystem.list(directory).filter { $0 != "lock" }.map { name in
                let path = directory + "/" + name
                return (path, try #require(fileSystem.contents(of: path)))
            }
        }
    }

    static let both = StoreDirectories(log: log, tables: tables)

    static func check(
        _ fileSystem: MemoryFileSystem, _ directories: StoreDirectories = both
    ) throws(StorageError) -> StoreReport {
        try StoreCheck.run(directories, fileSystem: fileSystem) { _ in }
    }
}

extension StoreReport {
    var problems: [StorageError] { findings.flatMap(\.problems) }
    var notes: [String] { findings.flatMap(\.notes) }
}

extension StorageError {
    /// The file that is named.
    var path: String {
        switch self {
        case .corrupt(let path, _, _), .io(_, let path, _), .full(let path), .locked(let path),
            .incompatible(let path, _), .rolledBack(let path, _):
            path
        }
    }
}
