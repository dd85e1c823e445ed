import Foundation
import Glibc
import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// One store among the fixtures: the files of both directories, `wal` and `tables`, and what they hold.
struct FixtureStore {
    static let expectedName = "expected.json"
    static let parts = ["wal", "tables"]

    let folder: URL
    let expected: ExpectedStore

    /// `format/store`, of all formats.
    static let names = Fixtures.folders(prefix: "store-").flatMap { format in
        Fixtures.contents(of: Fixtures.folder(format)).map { format + "/" + $0 }
    }

    init(_ name: String) throws {
        folder = Fixtures.folder(name)
        let json = try Data(contentsOf: folder.appending(path: Self.expectedName))
        expected = try JSONDecoder().decode(ExpectedStore.self, from: json)
    }

    /// Copies the files, which nobody may write to, into `directory`.
    func copy(to directory: String) throws {
        for part in Self.parts {
            mkdir(directory + "/" + part, 0o700)
            for name in Fixtures.contents(of: folder.appending(path: part)) {
                let bytes = try Data(contentsOf: folder.appending(path: "\(part)/\(name)"))
                try bytes.write(to: URL(filePath: "\(directory)/\(part)/\(name)"))
            }
        }
    }
}

/// A store that is open, as a node has it before it runs.
struct OpenFixture {
    let identity: StoreIdentity
    let node: RecoveredNode
    var engine: Engine { node.engine }
    var log: LogStore { node.log }
    /// What the engine should hold.
    var model = Model()

    /// Small limits, so that a few writes go through all parts of log and tables.
    static func options(_ compression: BlockCompression = .none, level0MergeTables: Int = 1) -> EngineOptions {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.blockBytes = 256
        options.blockCacheBytes = 1 << 20
        options.compression = compression
        options.level0MergeTables = level0MergeTables
        return options
    }

    /// - Parameter seed: of the id of a store that is new.
    init(
        _ directory: String, _ options: EngineOptions = options(), fileSystem: any FileSystem, seed: UInt64 = 1
    ) throws {
        let (log, tables) = (directory + "/wal", directory + "/tables")
        var random = SeededGenerator(seed)
        identity = try StoreIdentity.open(
            walDirectory: log, tableDirectory: tables, fileSystem: fileSystem, using: &random)
        node = try RecoveredNode.open(
            logDirectory: log, tableDirectory: tables, fileSystem: fileSystem,
            logOptions: LogOptions(segmentBytes: 4_096), engineOptions: options)
    }

    /// All entries of the log.
    func entries() throws -> [Entry] {
        var entries: [Entry] = []
        var next = node.state.baseIndex + 1
        while next <= node.state.lastIndex {
            let read = try log.read(from: next, through: node.state.lastIndex, maxBytes: 1_000)
            try #require(!read.isEmpty)
            entries += read
            next += LogIndex(read.count)
        }
        return entries
    }

    /// Applies what the log has and the tables lack.
    func apply(_ entries: [Entry], through last: LogIndex) throws {
        let applied = engine.appliedIndex
        _ = try engine.apply(entries.filter { $0.index > applied && $0.index <= last })
    }

    func hash() throws -> String { String(try engine.view().stateHash(), radix: 16) }
}
