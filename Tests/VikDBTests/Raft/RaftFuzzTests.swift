import Glibc
import Testing
import VikDB
import VikWire

/// Seeded random networks, disks and crashes; the invariants of Raft after every input, then service once all is healed.
///
/// `VIK_SEED=n` replays one seed; `VIK_SEEDS=n` runs that many.
@Suite("Raft under random faults")
struct RaftFuzzTests {
    private static let seedCount = number("VIK_SEEDS") ?? 800
    private static let ticks = 500

    private static func number(_ variable: String) -> UInt64? {
        getenv(variable).flatMap { UInt64(String(cString: $0)) }
    }

    @Test("Safety under faults, liveness after them")
    func fuzz() {
        if let seed = Self.number("VIK_SEED") {
            _ = run(seed)
            return
        }
        var total = RaftFuzzCounts()
        for seed in 1...Self.seedCount {
            guard let counts = run(seed) else { return }
            total.add(counts)
        }
        print("covered in \(Self.seedCount) seeds:")
        for event in RaftFuzzEvent.allCases {
            print("  \(event): \(total[event])")
            #expect(total[event] > 0, "the seeds never saw \(event)")
        }
    }

    /// - Returns: what happened how often; nil if an invariant broke.
    private func run(_ seed: UInt64) -> RaftFuzzCounts? {
        var world = RaftFuzzWorld(seed: seed)
        do throws(RaftInvariants.Violation) {
            try world.run(ticks: Self.ticks)
            try world.healAndServe()
            return world.counts
        } catch {
            Issue.record("VIK_SEED=\(seed), tick \(world.now): \(error.text)")
            return nil
        }
    }

    @Test("The same seed gives the same run")
    func deterministic() throws {
        for seed in [3, 17] as [UInt64] {
            var (one, other) = (RaftFuzzWorld(seed: seed), RaftFuzzWorld(seed: seed))
            try one.run(ticks: 300)
            try other.run(ticks: 300)
            #expect(one.counts == other.counts && one.invariants.committed == other.invariants.committed)
        }
    }
}
