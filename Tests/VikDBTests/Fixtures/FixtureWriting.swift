import Foundation
import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Writes the fixtures of today's formats, when a format has changed; not part of a test run.
///
///     VIK_NEW_FIXTURES=store-log1-tables3-manifest1 swift test --filter FixtureWriting
///
/// What is there is never written over.
struct FixtureWriting {
    private static let name = ProcessInfo.processInfo.environment["VIK_NEW_FIXTURES"]

    @Test(.enabled(if: name != nil, "VIK_NEW_FIXTURES names a folder to be made"))
    func writeAll() throws {
        let folder = Fixtures.folder(try #require(Self.name))
        try #require(folder.lastPathComponent.hasPrefix("store-"), "the tests would not find it")
        try #require(!FileManager.default.fileExists(atPath: folder.path), "fixtures are only ever added")
        for (name, maker) in [
            ("alone", try StoreMaker.alone()), ("member", try .member()), ("crashed", try .crashed()),
            ("snapshot", try .snapshot()), ("installing", try .installing()), ("voted", try .voted()),
        ] {
            try maker.write(to: folder.appending(path: name))
        }
    }
}

/// Writes one store as a node does, on a disk in memory.
final class StoreMaker {
    private static let root = ""
    private let fileSystem = MemoryFileSystem()
    private var store: OpenFixture?
    /// Every entry that is in the log, or was before it was compacted; the first one has index 1.
    private var entries: [Entry] = []
    private var hardState = HardState()
    private let seed: UInt64

    private init(seed: UInt64) {
        self.seed = seed
    }

    // MARK: The stores

    /// A node without `-node-id`, cleanly closed: compressed tables and others, on levels 0 and 1.
    static func alone() throws -> StoreMaker {
        let maker = StoreMaker(seed: 1)
        try maker.open(OpenFixture.options(.zlib, level0MergeTables: 2))
        let member = Member(id: .founder(address: ""), store: maker.id, address: "", label: "single-node")
        try maker.save(term: 1, vote: member.id, commit: 0)
        try maker.append(term: 1, [.configuration(of: [member])])
        for last in [15, 30] as [LogIndex] {
            try maker.write(through: last, term: 1)
            try maker.flush()
        }
        try maker.save(term: 1, vote: member.id, commit: 30)
        try maker.close()

        try maker.open(OpenFixture.options(.none, level0MergeTables: 2))
        try maker.save(term: 2, vote: member.id, commit: 30)
        try maker.append(term: 2, [.noOp])
        for last in [40, 50, 60] as [LogIndex] {
            try maker.write(through: last, term: 2)
            try maker.flush()
        }
        try maker.save(term: 2, vote: member.id, commit: 60)
        try maker.close()

        try maker.open(OpenFixture.options(.zlib, level0MergeTables: 4))
        try maker.save(term: 3, vote: member.id, commit: 60)
        try maker.append(term: 3, [.noOp])
        for last in [64, 67] as [LogIndex] {
            try maker.write(through: last, term: 3)
            try maker.flush()
        }
        try maker.write(through: 70, term: 3)
        try maker.save(term: 3, vote: member.id, commit: 70)
        try maker.requireTables([3, 1])
        try maker.close()
        return maker
    }

    /// A member of three, cleanly closed: a fourth one that came and went, entries that another leader replaced, some
    /// not committed, the log's front gone, tables on levels 0 to 2.
    static func member() throws -> StoreMaker {
        let maker = StoreMaker(seed: 2)
        // What is on level 1 goes down to level 2 and stays there.
        var options = OpenFixture.options(level0MergeTables: 2)
        options.level1Bytes = 1
        options.levelRatio = 1_000_000
        try maker.open(options)
        let three = founders(number: 1, store: maker.id)
        try maker.save(term: 1, vote: three[1].id, commit: 0)
        try maker.append(term: 1, [.configuration(of: three)])
        for last in [20, 40] as [LogIndex] {
            try maker.write(through: last, term: 1)
            try maker.flush()
        }
        var fourth = Member(
            id: MemberID(rawValue: 41), store: .zero, role: .voterToBe, address: "10.0.0.4:9090", label: "node4")
        try maker.append(term: 1, [.configuration(of: three + [fourth])])
        fourth.store = StoreID(high: 0x4041_4243_4445_4647, low: 4)
        try maker.append(term: 1, [.configuration(of: three + [fourth])])
        fourth.role = .voter
        try maker.append(term: 1, [.configuration(of: three + [fourth])])
        try maker.write(through: 46, term: 1)
        try maker.append(term: 1, [.configuration(of: three)])
        try maker.write(through: 50, term: 1)
        try maker.save(term: 1, vote: three[1].id, commit: 50)
        try maker.close()

        try maker.open(OpenFixture.options(.zlib, level0MergeTables: 2))
        try maker.save(term: 3, vote: .none, commit: 50)
        try maker.append(term: 3, [.noOp])
        for last in [60, 70, 80] as [LogIndex] {
            try maker.write(through: last, term: 3)
            try maker.flush()
            maker.store!.log.allowDiscard(through: 60)
        }
        try maker.append(term: 3, [.noOp, .noOp])
        try maker.save(term: 5, vote: three[1].id, commit: 80)
        try maker.append(term: 5, after: 80, [.noOp])
        try maker.write(through: 88, term: 5)
        // Not committed: another one that is to come.
        let fifth = Member(
            id: MemberID(rawValue: 89), store: .zero, role: .learner, address: "10.0.0.5:9090", label: "node5")
        try maker.append(term: 5, [.configuration(of: three + [fifth])])
        try maker.write(through: 90, term: 5)
        try maker.save(term: 6, vote: three[2].id, commit: 88)
        try maker.store!.log.removeDiscarded()
        try #require(maker.store!.log.base.index > 1)
        try maker.requireTables([1, 1, 1])
        try maker.close()
        return maker
    }

    /// A member that crashed while it wrote to all files at once.
    static func crashed() throws -> StoreMaker {
        for calls in 0..<100 {
            let maker = StoreMaker(seed: 3)
            try maker.open(OpenFixture.options(level0MergeTables: 2))
            let three = founders(number: 3, store: maker.id)
            try maker.save(term: 1, vote: three[0].id, commit: 0)
            try maker.append(term: 1, [.configuration(of: three)])
            for last in [20, 40, 50] as [LogIndex] {
                try maker.write(through: last, term: 1)
                try maker.flush()
            }
            try maker.save(term: 2, vote: three[0].id, commit: 52)
            try maker.append(term: 2, [.noOp])
            try maker.write(through: 56, term: 2)
            let edits = try maker.edits()
            // A group of the log is not synced yet, while a flush is on its way.
            let lost = (57...59).map { index in
                Entry(
                    index: index, term: 2, kind: .command,
                    payload: Command.put(key: Array("lost".utf8), value: [UInt8](repeating: 0x6c, count: 100)))
            }
            try maker.store!.log.append(lost)
            try maker.store!.apply(maker.entries, through: 54)
            maker.fileSystem.crashAfter(calls: calls)
            try? maker.store!.engine.flush()
            maker.store = nil
            var random = SeededGenerator(3)
            maker.fileSystem.crash(keep: .all, using: &random)
            guard try maker.edits() == edits + 1 else { continue }
            // The end of each write did not get to the disk.
            let manifest = try #require(try maker.newest("/tables", prefix: "MANIFEST-"))
            let size = try #require(maker.fileSystem.contents(of: manifest)).count
            try maker.fileSystem.open(manifest, .readWrite).truncate(to: UInt64(size - 5))
            let segment = try #require(try maker.newest("/wal", suffix: ".log"))
            let bytes = try #require(maker.fileSystem.contents(of: segment))
            let end = try #require(bytes.lastIndex { $0 != 0 })
            try maker.fileSystem.open(segment, .readWrite)
                .write(ByteBuffer(repeating: 0, count: 200), at: UInt64(end + 1 - 200))
            // One copy of the newest hard state; its twin is whole.
            let newest = try maker.hardStateCopy()
            maker.fileSystem.corrupt("/wal/hard-state", at: newest + 30, xor: 0x10)
            for name in ["/wal/00000009.log.tmp", "/tables/CURRENT.tmp"] {
                try maker.fileSystem.open(name, .create).write(ByteBuffer(string: "Vik"), at: 0)
            }
            let notes = try SmallStore.check(maker.fileSystem.copy(), maker.directories).notes
            for part in ["MANIFEST-", ".log, offset", "hard-state, offset", ".log.tmp", "CURRENT.tmp", ".sst"] {
                try #require(notes.contains { $0.contains(part) }, "\(part) in \(notes)")
            }
            try #require(!notes.contains { $0.contains(".log, offset 64:") }, "whole records come first")
            return maker
        }
        throw MakingFailed()
    }

    /// A member that got a snapshot and wrote on, cleanly closed.
    static func snapshot() throws -> StoreMaker {
        let maker = try receiver(seed: 4)
        let last = maker.entries.last!
        try maker.store!.log.reset(toFollow: last.index, term: last.term)
        try maker.write(through: 70, term: 2)
        try maker.flush()
        try maker.write(through: 75, term: 2)
        try maker.save(term: 2, vote: .none, commit: 75)
        try maker.store!.log.removeDiscarded()
        try maker.requireTables([1, 0, 0, 0, 0, 0, 1])
        try maker.close()
        return maker
    }

    /// A member that crashed after a snapshot had replaced its tables, and before its log was reset.
    static func installing() throws -> StoreMaker {
        let maker = try receiver(seed: 5)
        maker.store = nil
        return maker
    }

    /// A founder that has voted, and crashed before the first entry came.
    static func voted() throws -> StoreMaker {
        let maker = StoreMaker(seed: 6)
        try maker.open(OpenFixture.options())
        try maker.save(term: 1, vote: .founder(address: "10.0.0.2:9090"), commit: 0)
        maker.store = nil
        return maker
    }

    /// The tables are a snapshot of entry 60; the log ends with entry 10 still.
    private static func receiver(seed: UInt64) throws -> StoreMaker {
        let (leader, maker) = (StoreMaker(seed: 100 + seed), StoreMaker(seed: seed))
        try leader.open(OpenFixture.options())
        try maker.open(OpenFixture.options(level0MergeTables: 4))
        let three = founders(number: 2, store: maker.id)
        for maker in [leader, maker] {
            try maker.save(term: 1, vote: .none, commit: 0)
            try maker.append(term: 1, [.configuration(of: three)])
            try maker.write(through: 10, term: 1)
        }
        try maker.save(term: 1, vote: .none, commit: 8)
        try maker.apply(through: 8)
        try maker.store!.engine.flush()
        try leader.append(term: 2, [.noOp])
        try leader.write(through: 60, term: 2)
        try leader.apply(through: 60)
        try maker.save(term: 2, vote: .none, commit: 8)
        let (reader, writer) = (leader.store!.engine.snapshotReader(), maker.store!.engine.snapshotWriter(for: 60))
        while let chunk = try reader.next(targetBytes: 1_000) { try writer.append(chunk) }
        try maker.store!.engine.install(writer, at: FlushedPosition(index: 60, term: 2))
        maker.entries = leader.entries
        maker.hardState.commit = 60
        return maker
    }

    private static func founders(number: Int, store: StoreID) -> [Member] {
        (1...3).map { other in
            let address = "10.0.0.\(other):9090"
            let others = StoreID(high: 0x1011_1213_1415_1617 * UInt64(other), low: UInt64(other))
            return Member(
                id: .founder(address: address), store: other == number ? store : others, address: address,
                label: "node\(other)")
        }
    }

    // MARK: What a node does

    private enum Content {
        case noOp
        case command(ByteBuffer)
        case configuration(ByteBuffer)

        static func configuration(of members: [Member]) -> Content {
            let incarnation = Incarnation(high: 0xa0a1_a2a3_a4a5_a6a7, low: 0xa8a9_aaab_acad_aeaf)
            return .configuration(Configuration(incarnation: incarnation, members: members).encoded())
        }
    }

    private var id: StoreID { store!.identity.id }
    private var last: LogIndex { LogIndex(entries.count) }

    private func open(_ options: EngineOptions) throws {
        store = try OpenFixture(Self.root, options, fileSystem: fileSystem, seed: seed)
    }

    private func save(term: Term, vote: MemberID, commit: LogIndex) throws {
        hardState = HardState(term: term, vote: vote, commit: commit)
        try store!.log.save(hardState)
    }

    /// Entries that follow entry `previous`, by default the last one.
    private func append(term: Term, after previous: LogIndex? = nil, _ contents: [Content]) throws {
        entries.removeLast(entries.count - Int(previous ?? last))
        let new = contents.enumerated().map { offset, content in
            let index = last + 1 + LogIndex(offset)
            return switch content {
            case .noOp: Entry(index: index, term: term, kind: .noOp)
            case .command(let payload): Entry(index: index, term: term, kind: .command, payload: payload)
            case .configuration(let payload): Entry(index: index, term: term, kind: .configuration, payload: payload)
            }
        }
        try store!.log.append(new)
        try store!.log.sync()
        entries += new
    }

    /// Commands up to an index, in groups of four.
    private func write(through end: LogIndex, term: Term) throws {
        while last < end {
            let indexes = last + 1...min(last + 4, end)
            try append(term: term, indexes.map { .command(Self.command($0)) })
        }
    }

    private static func command(_ index: LogIndex) -> ByteBuffer {
        func key(_ number: LogIndex) -> [UInt8] { Array("key\(number % 24)".utf8) }
        let value = Array(String(repeating: "value \(index), ", count: Int(index % 9) + 1).utf8)
        switch index % 20 {
        case 3, 9, 14: return Command.delete(key: key(index * 5 + 1))
        case 4:
            // No text, no order, and not to be compressed.
            var random = SeededGenerator(index)
            let value = (0..<100).map { _ in UInt8.random(in: 0...255, using: &random) }
            return Command.put(key: [0, 0xff, UInt8(index)], value: value)
        case 5:
            // A key that is written twice, one that is written and deleted, and an empty value.
            var batch = ByteBuffer()
            Command.writeHeader(operationCount: 5, into: &batch)
            Command.writePut(key: key(index), value: [1], into: &batch)
            Command.writePut(key: Array("batch".utf8), value: value, into: &batch)
            Command.writePut(key: key(index), value: value, into: &batch)
            Command.writePut(key: Array("empty\(index)".utf8), value: [], into: &batch)
            Command.writeDelete(key: Array("batch".utf8), into: &batch)
            return batch
        case 18 where index == 18:
            // Larger than a segment.
            return Command.put(key: Array("large".utf8), value: [UInt8](repeating: 0x4c, count: 4_500))
        default: return Command.put(key: key(index * 5), value: value)
        }
    }

    private func apply(through last: LogIndex) throws {
        try store!.apply(entries, through: last)
    }

    /// Applies everything; a table holds it then, and what is due is merged.
    private func flush() throws {
        try apply(through: last)
        try store!.engine.flush()
    }

    private func close() throws {
        try store!.log.close()
        store = nil
    }

    private func requireTables(_ counts: [Int]) throws {
        let levels = store!.engine.statistics.levels.map(\.tables)
        try #require(levels == counts + Array(repeating: 0, count: levels.count - counts.count))
    }

    // MARK: Files

    private var directories: StoreDirectories { StoreDirectories(log: "/wal", tables: "/tables") }

    private func newest(_ directory: String, prefix: String = "", suffix: String = "") throws -> String? {
        try fileSystem.list(directory).last { $0.hasPrefix(prefix) && $0.hasSuffix(suffix) }
            .map { directory + "/" + $0 }
    }

    /// How many edits the manifest has.
    private func edits() throws -> Int {
        let manifest = try #require(try newest("/tables", prefix: "MANIFEST-"))
        var count = 0
        _ = try FileDump.run(
            manifest, fileSystem: fileSystem.copy(), limits: FileDump.Limits(items: nil, bytes: 64)
        ) { count += $0.contains(": edit") ? 1 : 0 }
        return count
    }

    /// Offset of a copy of the newest hard state: those of even saves stand first.
    private func hardStateCopy() throws -> Int {
        let bytes = try #require(fileSystem.contents(of: "/wal/hard-state"))
        func sequence(_ offset: Int) -> UInt64 {
            bytes[offset + 16..<offset + 24].reduce(0) { $0 << 8 | UInt64($1) }
        }
        return sequence(0) > sequence(8_192) ? 0 : 8_192
    }

    /// Writes the files, and what a model of the state machine says that they hold.
    fileprivate func write(to folder: URL) throws {
        for part in FixtureStore.parts {
            let target = folder.appending(path: part)
            try FileManager.default.createDirectory(at: target, withIntermediateDirectories: true)
            for name in try fileSystem.list("/" + part) where name != "lock" {
                let bytes = try #require(fileSystem.contents(of: "/\(part)/\(name)"))
                try Data(bytes).write(to: target.appending(path: name))
            }
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try encoder.encode(try expected()).write(to: folder.appending(path: FixtureStore.expectedName))
    }

    private func expected() throws -> ExpectedStore {
        var model = Model()
        for entry in entries where entry.index <= hardState.commit { try model.apply(entry) }
        let hasLeftovers = try !SmallStore.check(fileSystem.copy(), directories).notes.isEmpty
        let read = try OpenFixture(Self.root, fileSystem: fileSystem.copy())
        let state = read.node.state
        let log = try read.entries()
        try #require(log == Array(entries[Int(state.baseIndex)...]))
        try #require(state.hardState == hardState)
        try read.apply(log, through: hardState.commit)
        try expectEqual(read.engine, model)
        let members = try model.configuration.map { try Configuration(from: ByteBuffer(bytes: $0.bytes)) }
        return ExpectedStore(
            store: "\(read.identity.id)", term: hardState.term, vote: "\(hardState.vote)", commit: hardState.commit,
            base: .init(index: state.baseIndex, term: state.baseTerm),
            flushed: .init(index: read.engine.flushed.index, term: read.engine.flushed.term),
            installed: read.engine.installedIndex, hasLeftovers: hasLeftovers,
            log: try log.map { try .init($0) }, values: .init(model.values),
            configuration: members.map { .init($0) }, configurationVersion: model.configuration?.version,
            stateHash: try read.hash())
    }
}

private struct MakingFailed: Error {}
