import Testing
import VikDB
import VikTestSupport
import VikWire

/// Members that come and go while others are away: known dangers, one a test, on the simulator. Faults end, nobody is
/// restarted, nobody is told anything: a live majority elects, writes and reads.
extension ScenarioTests {
    /// A voter comes back that knows neither who was added nor who was removed while it was away.
    @Test(arguments: 1...6 as ClosedRange<UInt64>) func voterThatMissedTwoChanges(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed) { $0.spareCount = 1 }
        let leader = try #require(simulation.startCluster())
        let peers = others(simulation, than: leader).filter { simulation.nodes[$0].isPresent }
        let (away, leaving, added) = (peers[0], peers[1], 3)
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: leader))))
        simulation.run(for: Self.electionTime)
        simulation.crash(simulation.nodes[away], restartAfter: nil)
        #expect(
            simulation.change(
                .setMember(label: "node4", address: simulation.nodes[added].replicationAddress, becomesVoter: true),
                at: leader))
        #expect(simulation.run(within: 5_000_000) { simulation.role(of: added) == .voter })
        #expect(simulation.change(.remove(label: simulation.nodes[leaving].name), at: leader))
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: leader))))
        simulation.run(for: Self.electionTime)
        simulation.crash(simulation.nodes[leader], restartAfter: nil)
        simulation.crash(simulation.nodes[leaving], restartAfter: nil)
        simulation.restart(away)
        let new = try #require(simulation.awaitLeader(), "\(simulation.violation ?? "no leader")")
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: new))))
        for node in [away, added] {
            guard case .answered? = simulation.awaitOutcome(of: simulation.get("k", at: node)) else {
                Issue.record("seed \(seed): node \(node) does not read")
                continue
            }
        }
        if let violation = simulation.violation { Issue.record("seed \(seed): \(violation)") }
    }

    /// A member lost its disk and is recorded with the new one while a voter is away; then the two are alone.
    @Test(arguments: 1...6 as ClosedRange<UInt64>) func voterThatMissedANewStore(seed: UInt64) throws {
        let simulation = cluster(5, seed: seed)
        let leader = try #require(simulation.startCluster())
        let peers = others(simulation, than: leader)
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: leader))))
        simulation.run(for: Self.electionTime)
        simulation.crash(simulation.nodes[peers[0]], restartAfter: nil)
        simulation.wipe(simulation.nodes[peers[1]], restartAfter: 10_000)
        #expect(simulation.run(within: 5_000_000) { simulation.coverage[.readmissions] == 1 })
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: leader))))
        simulation.run(for: Self.electionTime)
        // The leader and another are gone; the wiped one, one that knows and one that does not are a majority.
        simulation.crash(simulation.nodes[leader], restartAfter: nil)
        simulation.crash(simulation.nodes[peers[2]], restartAfter: nil)
        simulation.restart(peers[0])
        simulation.proveMajorityServes()
        if let violation = simulation.violation { Issue.record("seed \(seed): \(violation)") }
        #expect(simulation.coverage[.majorityServedAlone] == 1)
    }

    /// A leader whose entries get to nobody, and its heartbeats to all, makes room for one that can commit.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func leaderCutOffFromSendingEntries(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let leader = try #require(simulation.startCluster())
        simulation.cutAppends(from: leader, to: others(simulation, than: leader))
        let lost = simulation.put("k", at: leader)
        let new = try #require(simulation.awaitLeader(otherThan: [leader]), "\(simulation.violation ?? "no leader")")
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: new))))
        guard case .unknown? = simulation.awaitOutcome(of: lost) else {
            Issue.record("seed \(seed): a write that got to nobody ended as \(simulation.outcome(of: lost) as Any)")
            return
        }
        // It does not stand in the new one's way.
        simulation.run(for: 20 * Self.electionTime)
        #expect(simulation.leaderPosition == new)
        if let violation = simulation.violation { Issue.record("seed \(seed): \(violation)") }
    }

    /// A read that waits for confirmations when the quorum shrinks is answered, and so are all after it.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func readsWhileTheQuorumShrinks(seed: UInt64) throws {
        for count in [2, 4] {
            let simulation = cluster(count, seed: seed)
            let leader = try #require(simulation.startCluster())
            simulation.run(for: Self.electionTime)
            let peers = others(simulation, than: leader)
            let reads = (0..<3).map { _ in simulation.get("k", at: leader) }
            simulation.ask(.remove(label: simulation.nodes[peers[0]].name), at: leader)
            for _ in 0..<40 {
                _ = simulation.get("k", at: leader)
                simulation.run(for: 500)
            }
            let last = simulation.get("k", at: leader)
            for read in reads + [last] {
                guard case .answered? = simulation.awaitOutcome(of: read) else {
                    Issue.record(
                        "seed \(seed): a read of \(count) nodes ended as \(simulation.outcome(of: read) as Any)")
                    continue
                }
            }
            if let violation = simulation.violation { Issue.record("seed \(seed): \(violation)") }
        }
    }
}
