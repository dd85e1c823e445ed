import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Random operations under random options against a dictionary (proof scenario 34).
struct EngineModelTests {
    @Test func randomOperationsMatchAModel() throws {
        var covered: [String: Int] = [:]
        for seed in seeds(40) {
            var run = Run(seed: seed)
            do {
                try run.execute(steps: 300)
            } catch {
                Issue.record("seed \(seed), replay with VIK_SEED=\(seed): \(error)")
                throw error
            }
            covered.merge(run.covered, uniquingKeysWith: +)
        }
        print("engine model test covered", covered.sorted { $0.key < $1.key })
        for name in ["flush", "merge", "reopen", "old view", "large entry", "paged range", "deep level"] {
            #expect(covered[name, default: 0] > 0, "nothing covered: \(name)")
        }
    }

    private struct Run {
        var random: SeededGenerator
        let options: EngineOptions
        let fileSystem = MemoryFileSystem()
        var engine: Engine?
        var log = TestLog()
        var views: [(view: EngineView, model: Model)] = []
        var covered: [String: Int] = [:]

        init(seed: UInt64) {
            random = SeededGenerator(seed)
            options = Self.options(&random)
        }

        static func options(_ random: inout SeededGenerator) -> EngineOptions {
            var options = EngineOptions()
            options.memtableMaxBytes = EngineOptions.minMemtableBytes
            options.blockBytes = [64, 256, 4_096].randomElement(using: &random)!
            options.compression = BlockCompression.allCases.randomElement(using: &random)!
            options.blockCacheBytes = [0, 20_000, 1 << 20].randomElement(using: &random)!
            options.maxTableBytes = [1_000, 8_000, 100_000].randomElement(using: &random)!
            options.level0MergeTables = Int.random(in: 1...4, using: &random)
            options.level1Bytes = [2_000, 20_000, 200_000].randomElement(using: &random)!
            options.levelRatio = UInt64.random(in: 2...10, using: &random)
            options.mergeSliceBytes = [1, 5_000, 1 << 20].randomElement(using: &random)!
            return options
        }

        mutating func execute(steps: Int) throws {
            try reopen()
            for _ in 0..<steps { try step() }
            try expectEqual(engine!, log.model)
            try expectSameHashElsewhere()
        }

        private mutating func step() throws {
            let engine = engine!
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<40: try write(entries: Int.random(in: 1...4, using: &random))
            case 40..<55: try get()
            case 55..<65: try range()
            case 65..<70:
                if views.count == 3 { views.removeFirst() }
                views.append((engine.view(), log.model))
            case 70..<75: try checkOldViews()
            case 75..<83: engine.requestFlush()
            case 83..<98:
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let before = engine.statistics
                    guard let job = engine.takeBackgroundJob() else { break }
                    #expect(engine.takeBackgroundJob() == nil)
                    try job.run()
                    let after = engine.statistics
                    covered[after.flushed == before.flushed ? "merge" : "flush", default: 0] += 1
                    if after.levels[2...].contains(where: { $0.tables > 0 }) { covered["deep level", default: 0] += 1 }
                }
            default:
                try reopen()
                covered["reopen", default: 0] += 1
            }
        }

        private mutating func reopen() throws {
            engine = nil
            let opened = try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
            #expect(opened.appliedIndex == opened.flushed.index)
            engine = opened
            try log.bringUp(opened)
        }

        private mutating func randomKey() -> [UInt8] {
            let length = Int.random(in: 1...4, using: &random)
            return (0..<length).map { _ in [0, 1, 97, 255].randomElement(using: &random)! }
        }

        private mutating func write(entries: Int) throws {
            for _ in 0..<entries {
                switch Int.random(in: 0..<30, using: &random) {
                case 0: try log.append(ByteBuffer(), kind: .noOp)
                case 1: try log.append(ByteBuffer(integer: random.next()), kind: .configuration)
                default:
                    var command = ByteBuffer()
                    let count = Int.random(in: 1...6, using: &random)
                    Command.writeHeader(operationCount: count, into: &command)
                    for _ in 0..<count {
                        let key = randomKey()
                        if Int.random(in: 0..<3, using: &random) == 0 {
                            Command.writeDelete(key: key, into: &command)
                        } else {
                            let isLarge = Int.random(in: 0..<100, using: &random) == 0
                            if isLarge { covered["large entry", default: 0] += 1 }
                            let length = isLarge ? 80_000 : Int.random(in: 0...600, using: &random)
                            let byte = UInt8.random(in: 0...255, using: &random)
                            let value = [UInt8](repeating: byte, count: length)
                            Command.writePut(key: key, value: value, into: &command)
                        }
                    }
                    try log.append(command)
                }
            }
            try log.bringUp(engine!)
            #expect(engine!.appliedIndex == LogIndex(log.entries.count))
        }

        private mutating func get() throws {
            let key = randomKey()
            let result = try engine!.view().execute(.get(key: key))
            try #require(result == .value(log.model.values[key]))
        }

        private mutating func range() throws {
            let start = Bool.random(using: &random) ? [] : randomKey()
            let end = Bool.random(using: &random) ? [] : randomKey()
            let limit = Int.random(in: 1...20, using: &random)
            let maxBytes = Int.random(in: 0...2_000, using: &random)
            let expected = log.model.items(from: start, to: end)
            if expected.count > limit { covered["paged range", default: 0] += 1 }
            let found = try engine!.view().items(from: start, to: end, limit: limit, maxBytes: maxBytes)
            try #require(found == expected)
        }

        private mutating func checkOldViews() throws {
            for (view, model) in views {
                let items = try view.items()
                try #require(items == model.items(from: [], to: []))
                if view.index < engine!.appliedIndex { covered["old view", default: 0] += 1 }
            }
        }

        /// The same log under other options, never flushed: the same hash.
        private mutating func expectSameHashElsewhere() throws {
            let other = try Engine.open(
                directory: "/db", fileSystem: MemoryFileSystem(), options: EngineOptions())
            try log.bringUp(other)
            let hash = try other.view().stateHash()
            let ownHash = try engine!.view().stateHash()
            try #require(ownHash == hash)
            try log.append(Command.put(key: [9], value: [9]))
            try log.bringUp(other)
            let laterHash = try other.view().stateHash()
            try #require(laterHash != hash)
        }
    }
}
