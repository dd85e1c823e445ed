import Foundation
import Glibc
import Testing
import VikTestSupport

/// Many seeds, each a world of its own. `VIK_SEED=n` replays one with its trace, `VIK_HISTORY=path` then keeps what its
/// clients saw; `VIK_SIM_SEEDS=n` runs n of them.
@Suite(.serialized) struct RandomSeedsTests {
    private static func number(_ variable: String) -> UInt64? {
        getenv(variable).flatMap { UInt64(String(cString: $0)) }
    }

    private func report(_ seed: UInt64, _ violation: String) {
        Issue.record(
            "seed \(seed): \(violation)\nreplay: VIK_SEED=\(seed) swift test -c release --disable-testable-imports --filter RandomSeedsTests"
        )
    }

    @Test func everySeedKeepsItsPromises() async throws {
        if let seed = Self.number("VIK_SEED") {
            let simulation = Simulation.run(seed: seed, isPrinted: true)
            if let violation = simulation.violation { report(seed, violation) }
            print(simulation.coverage.report)
            if let path = getenv("VIK_HISTORY") {
                try simulation.history.jsonLines().write(
                    toFile: String(cString: path), atomically: true, encoding: .utf8)
            }
            return
        }
        let count = Self.number("VIK_SIM_SEEDS") ?? 400
        var coverage = Coverage()
        for seed in 1...count {
            let simulation = Simulation.run(seed: seed)
            coverage.add(simulation.coverage)
            if let violation = simulation.violation { report(seed, violation) }
            await Task.yield()
        }
        print("\(count) seeds covered:\n\(coverage.report)")
        if count >= 200 {
            #expect(coverage.missing.isEmpty, "never happened: \(coverage.missing.map(\.rawValue))")
        }
    }

    @Test(arguments: [3, 8, 21] as [UInt64]) func aSeedIsOneRun(seed: UInt64) {
        let first = Simulation.run(seed: seed)
        let second = Simulation.run(seed: seed)
        #expect(first.traceHash == second.traceHash)
        #expect(first.history == second.history)
        print("seed \(seed) has the trace \(first.traceHash)")
    }
}
