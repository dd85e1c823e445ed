import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Snapshots of random states, read, taken and installed while flushes and merges go on.
struct SnapshotModelTests {
    @Test func snapshotsMatchAModel() throws {
        var covered: [String: Int] = [:]
        for seed in seeds(60) {
            do {
                var run = try Run(seed: seed)
                try run.execute()
                covered.merge(run.covered, uniquingKeysWith: +)
            } catch {
                Issue.record("seed \(seed), replay with VIK_SEED=\(seed): \(error)")
                throw error
            }
        }
        print("snapshot model test covered", covered.sorted { $0.key < $1.key })
        for name in ["record", "chunk", "flush", "merge", "merge cut short", "several tables", "old table kept"] {
            #expect(covered[name, default: 0] > 0, "nothing covered: \(name)")
        }
    }

    /// A source, whose state is read, and a target, which has another one and takes it; both with work of their own.
    private struct Run {
        private final class Node {
            let fileSystem = MemoryFileSystem()
            let options: EngineOptions
            var engine: Engine
            var log = TestLog()

            init(_ random: inout SeededGenerator) throws {
                options = Run.options(&random)
                engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
            }

            func tables() throws -> Int {
                try fileSystem.list("/db").count { $0.hasSuffix(".sst") }
            }
        }

        private var random: SeededGenerator
        private let source: Node
        private let target: Node
        private(set) var covered: [String: Int] = [:]

        init(seed: UInt64) throws {
            random = SeededGenerator(seed)
            source = try Node(&random)
            target = try Node(&random)
        }

        private static func options(_ random: inout SeededGenerator) -> EngineOptions {
            var options = EngineOptions()
            options.memtableMaxBytes = EngineOptions.minMemtableBytes
            options.blockBytes = [64, 256, 4_096].randomElement(using: &random)!
            options.compression = BlockCompression.allCases.randomElement(using: &random)!
            options.blockCacheBytes = [0, 1 << 20].randomElement(using: &random)!
            options.maxTableBytes = [1, 1_000, 100_000].randomElement(using: &random)!
            options.level0MergeTables = Int.random(in: 1...4, using: &random)
            options.level1Bytes = [2_000, 20_000].randomElement(using: &random)!
            options.levelRatio = UInt64.random(in: 2...10, using: &random)
            options.mergeSliceBytes = [1, 500, 1 << 20].randomElement(using: &random)!
            return options
        }

        mutating func execute() throws {
            for _ in 0..<Int.random(in: 0...120, using: &random) { try work(source) }
            try source.log.appendRandom(1, &random)
            try source.log.bringUp(source.engine)
            let reader = source.engine.snapshotReader()
            let (model, position) = (source.log.model, source.log.position)
            let hash = try source.engine.view().stateHash()
            #expect(reader.index == position.index)
            let before = source.engine.statistics
            #expect(reader.estimatedBytes == before.tableBytes + UInt64(before.memtableBytes))
            while target.log.entries.count < position.index, Int.random(in: 0..<80, using: &random) > 0 {
                try work(target, limit: Int(position.index))
            }
            let oldModel = target.log.model
            let oldView = target.engine.view()

            try transfer(reader, model, position)

            try expectEqual(target.engine, model)
            #expect(try target.engine.view().stateHash() == hash)
            #expect(target.engine.appliedIndex == position.index && target.engine.flushed == position)
            #expect(target.engine.installedIndex == position.index)
            #expect(target.engine.statistics.levels.dropLast().allSatisfy { $0.tables == 0 })
            if target.engine.statistics.levels[6].tables > 1 { covered["several tables", default: 0] += 1 }
            try target.engine.runJobs()
            if try target.tables() > target.engine.statistics.tableCount { covered["old table kept", default: 0] += 1 }
            let oldItems = try oldView.items()
            try #require(oldItems == oldModel.items(from: [], to: []))
            try goOn(position)
        }

        /// From reader to writer, chunk by chunk, with other work in between.
        private mutating func transfer(
            _ reader: SnapshotReader, _ model: Model, _ position: FlushedPosition
        ) throws {
            let writer = target.engine.snapshotWriter(for: position.index)
            var records: [TestRecord] = []
            while true {
                let targetBytes = [1, 100, 1_000, 50_000].randomElement(using: &random)!
                guard let chunk = try reader.next(targetBytes: targetBytes) else { break }
                let read = try #require(TestRecord.decode(chunk))
                let last = try #require(read.last)
                let lastBytes = 6 + 14 + last.key.count + last.value.count
                #expect(chunk.readableBytes - lastBytes < targetBytes)
                records += read
                #expect(reader.records == UInt64(records.count))
                try writer.append(chunk)
                #expect(writer.records == reader.records)
                covered["record", default: 0] += read.count
                covered["chunk", default: 0] += 1
                try work(source)
                if target.log.entries.count < position.index { try work(target, limit: Int(position.index)) }
            }
            #expect(try reader.next(targetBytes: 1) == nil)
            #expect(TestRecord.isSnapshot(records, of: position.index))
            let withoutOrdinals = records.map { record in
                var record = record
                record.ordinal = 0
                return record
            }
            try #require(withoutOrdinals == model.records)
            try expectEqual(target.engine, target.log.model)

            // Often in the middle of a merge, which the old tables take along.
            for _ in 0..<3 {
                let levels = target.engine.statistics.levels
                let files = try target.tables()
                guard Bool.random(using: &random), let job = target.engine.takeBackgroundJob() else { break }
                try job.run()
                if target.engine.statistics.levels == levels, try target.tables() > files {
                    covered["merge cut short", default: 0] += 1
                    break
                }
            }
            try target.engine.install(writer, at: position)
        }

        /// The log goes on after the snapshot, here and after a restart.
        private mutating func goOn(_ position: FlushedPosition) throws {
            try source.log.appendRandom(10, &random)
            try source.log.bringUp(source.engine)
            try source.log.bringUp(target.engine)
            try expectEqual(target.engine, source.log.model)
            try target.engine.flush()
            try expectEqual(target.engine, source.log.model)
            #expect(target.engine.installedIndex == position.index)
            target.engine = try Engine.open(
                directory: "/db", fileSystem: target.fileSystem, options: target.options)
            #expect(target.engine.installedIndex == position.index)
            #expect(target.engine.flushed.index == source.log.position.index)
            try expectEqual(target.engine, source.log.model)
            #expect(try target.tables() == target.engine.statistics.tableCount)
        }

        /// Something that an engine does anyway: a write, a flush, a slice of a merge.
        private mutating func work(_ node: Node, limit: Int = .max) throws {
            switch Int.random(in: 0..<4, using: &random) {
            case 0, 1:
                try node.log.appendRandom(min(3, limit - node.log.entries.count), &random)
                try node.log.bringUp(node.engine)
            case 2: node.engine.requestFlush()
            default:
                let flushed = node.engine.flushed
                guard let job = node.engine.takeBackgroundJob() else { return }
                try job.run()
                covered[node.engine.flushed == flushed ? "merge" : "flush", default: 0] += 1
            }
        }
    }
}
