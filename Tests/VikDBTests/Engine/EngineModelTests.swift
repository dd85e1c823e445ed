import Glibc
import Testing
import VikDB
import VikTestSupport

/// One list of operations under many options must give the answers of a sorted dictionary, and the same answers under
/// all of them (proof scenario 34). `VIK_SEED=n` replays one list with its trace, `VIK_MODEL_SEEDS=n` runs n of them.
struct EngineModelTests {
    private static let operations = 250
    private static let optionsPerSeed: UInt64 = 3
    private static let defaultSeeds = 30

    private static func options(_ random: inout SeededGenerator) -> EngineOptions {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.blockBytes = [64, 256, 4_096].randomElement(using: &random)!
        options.compression = BlockCompression.allCases.randomElement(using: &random)!
        options.blockCacheBytes = [0, 20_000, 1 << 20].randomElement(using: &random)!
        options.maxOpenTables = [1, 3, 256].randomElement(using: &random)!
        options.maxOpenTableBytes = [0, 5_000, 128 << 20].randomElement(using: &random)!
        options.maxTableBytes = [1_000, 8_000, 100_000].randomElement(using: &random)!
        options.level0MergeTables = Int.random(in: 1...4, using: &random)
        options.level0StallTables = options.level0MergeTables + Int.random(in: 0...4, using: &random)
        options.level0SlowdownTables = options.level0StallTables
        options.level1Bytes = [2_000, 20_000, 200_000].randomElement(using: &random)!
        options.levelRatio = UInt64.random(in: 2...10, using: &random)
        options.mergeSliceBytes = [1, 5_000, 1 << 20].randomElement(using: &random)!
        options.memtableMaxBytes *= [1, 1, 16].randomElement(using: &random)!
        options.maxUnflushedLogBytes = [2_000, 30_000, 256 << 20].randomElement(using: &random)!
        options.minReclaimedBytes = [1, 500, 2_000].randomElement(using: &random)!
        options.maxSealedMemtables = Int.random(in: 1...3, using: &random)
        return options
    }

    @Test func sameAnswersUnderAnyOptions() async throws {
        let count = getenv("VIK_MODEL_SEEDS").flatMap { Int(String(cString: $0)) } ?? Self.defaultSeeds
        let isReplay = getenv("VIK_SEED") != nil
        var covered = ModelCoverage()
        for seed in seeds(count) {
            do {
                covered.add(try Self.run(seed: seed, isPrinted: isReplay))
            } catch {
                Issue.record(
                    """
                    seed \(seed): \(error)
                    replay: VIK_SEED=\(seed) swift test -c release --disable-testable-imports --filter EngineModelTests
                    """)
            }
            await Task.yield()
        }
        print("\(isReplay ? 1 : count) lists of operations covered:\n\(covered.report)")
        if !isReplay && count >= Self.defaultSeeds {
            #expect(covered.missing.isEmpty, "never happened: \(covered.missing)")
        }
    }

    private struct Mismatch: Error, CustomStringConvertible {
        let description: String
    }

    private static func run(seed: UInt64, isPrinted: Bool) throws -> ModelCoverage {
        let plan = try ModelPlan(seed: seed, operations: operations)
        // Where the dictionary does not know, the first engine says what the others have to.
        var answers = plan.answers
        var covered = ModelCoverage()
        for number in 0..<optionsPerSeed {
            var random = SeededGenerator(seed &* 1_000 &+ number)
            let options = Self.options(&random)
            if isPrinted { print("seed \(seed), options \(number): \(options)") }
            var run = try ModelRun(plan, options, seed: random.next())
            for (position, operation) in plan.operations.enumerated() {
                let place = "options \(number), operation \(position), \(operation)"
                if isPrinted { print(place) }
                let answer: ModelAnswer?
                do {
                    answer = try run.execute(operation)
                } catch {
                    throw Mismatch(description: "\(place): \(error)")
                }
                guard let answer else { continue }
                if let expected = answers[position], expected != answer {
                    throw Mismatch(description: "\(place): \(answer), expected \(expected)")
                }
                answers[position] = answer
            }
            try run.finish()
            covered.add(run.covered)
        }
        return covered
    }
}
