import Glibc
import Testing
import VikDB
import VikTestSupport
import VikWire

/// One known danger each, in a cluster that is calm otherwise. All of the simulator's checks hold throughout; with
/// `VIK_TRACE` set, what happens is printed.
@Suite(.serialized) struct ScenarioTests {
    /// The longest election timeout.
    static let electionTime: UInt64 = 200_000

    func cluster(_ nodeCount: Int, seed: UInt64, _ change: (inout SimulationProfile) -> Void = { _ in })
        -> Simulation
    {
        var profile = SimulationProfile(seed: seed, nodeCount: nodeCount)
        change(&profile)
        return Simulation(profile, isPrinted: getenv("VIK_TRACE") != nil)
    }

    func isWritten(_ outcome: Reply.Outcome?) -> Bool {
        if case .written? = outcome { true } else { false }
    }

    func others(_ simulation: Simulation, than position: Int) -> [Int] {
        simulation.nodes.map(\.position).filter { $0 != position }
    }

    func finish(_ simulation: Simulation, seed: UInt64) {
        simulation.finish()
        if let violation = simulation.violation { Issue.record("seed \(seed): \(violation)") }
    }

    /// fig8: leaders come and go between replicating and committing; an entry of an older term never commits by count.
    @Test(arguments: 1...6 as ClosedRange<UInt64>) func figure8(seed: UInt64) throws {
        let simulation = cluster(5, seed: seed)
        var leader = try #require(simulation.startCluster())
        for round in 0..<8 {
            // The leader reaches one follower at most, then is gone; the others elect a new one.
            let reached = others(simulation, than: leader)[round % 4]
            let rest = others(simulation, than: leader).filter { $0 != reached }
            simulation.split([[leader, reached], rest])
            _ = simulation.put("k\(round % 3)", at: leader)
            simulation.run(for: UInt64(5_000 * (round % 4)))
            simulation.crash(simulation.nodes[leader], restartAfter: 100_000 + UInt64(round) * 50_000)
            simulation.split([simulation.nodes.map(\.position).filter { $0 != (round % 2 == 0 ? reached : -1) }])
            simulation.run(for: 2 * Self.electionTime)
            simulation.heal()
            leader = try #require(simulation.awaitLeader(), "\(simulation.violation ?? "no leader")")
        }
        finish(simulation, seed: seed)
    }

    /// leader-partition-minority: a leader that is cut off acknowledges nothing, and its clients learn "unknown".
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func leaderInAMinority(seed: UInt64) throws {
        let simulation = cluster(5, seed: seed) { $0.nodeOptions.requestWaitTicks = 500 }
        let old = try #require(simulation.startCluster())
        // A leader answers reads once its own disk has the cluster's first entry.
        simulation.run(for: Self.electionTime / 4)
        let friend = others(simulation, than: old)[0]
        simulation.split([[old, friend], others(simulation, than: old).filter { $0 != friend }])
        let lost = (0..<5).map { simulation.put("k\($0)", at: old) }
        let read = simulation.get("k0", at: old)
        let new = try #require(simulation.awaitLeader(otherThan: [old, friend]))
        let kept = simulation.awaitOutcome(of: simulation.put("k0", at: new))
        #expect(isWritten(kept))
        for token in lost {
            let outcome = simulation.awaitOutcome(of: token)
            guard case .unknown? = outcome else {
                Issue.record("seed \(seed): a write at a leader in a minority ended as \(String(describing: outcome))")
                continue
            }
        }
        #expect(simulation.core(of: old)?.isLeader == false, "a leader without a majority steps down")
        let unread = simulation.awaitOutcome(of: read, within: 10_000_000)
        guard case .notAnswered(.noQuorum)? = unread else {
            Issue.record("seed \(seed): a read in a minority ended as \(String(describing: unread))")
            return
        }
        simulation.heal()
        finish(simulation, seed: seed)
        #expect(simulation.coverage[.logTruncated] > 0)
    }

    /// one-way-link: a leader that is heard but hears nobody steps down, and the rest elects another.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func oneWayLink(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let old = try #require(simulation.startCluster())
        for peer in others(simulation, than: old) { simulation.cut(from: peer, to: old) }
        let new = try #require(simulation.awaitLeader(otherThan: [old], within: 10 * Self.electionTime))
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: new))))
        finish(simulation, seed: seed)
    }

    /// bridge: two groups that only one node connects still have one leader with a majority.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func bridge(seed: UInt64) throws {
        let simulation = cluster(5, seed: seed)
        _ = try #require(simulation.startCluster())
        simulation.split([[0, 1, 2], [2, 3, 4]])
        simulation.run(for: 10 * Self.electionTime)
        let leader = try #require(simulation.awaitLeader(within: 10 * Self.electionTime))
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: leader))))
        finish(simulation, seed: seed)
    }

    /// rejoin-high-term: a node that was cut off does not unseat the leader when it is back.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func rejoin(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let leader = try #require(simulation.startCluster())
        let term = try #require(simulation.core(of: leader)?.term)
        let isolated = others(simulation, than: leader)[0]
        simulation.split([[isolated], simulation.nodes.map(\.position).filter { $0 != isolated }])
        simulation.run(for: 20 * Self.electionTime)
        for index in 0..<20 { _ = simulation.put("k\(index)", at: leader) }
        simulation.run(for: Self.electionTime)
        simulation.heal()
        finish(simulation, seed: seed)
        #expect(simulation.leaderPosition == leader && simulation.core(of: leader)?.term == term)
    }

    /// pause-leader: a leader that slept through an election answers no read from the past.
    @Test(arguments: 1...8 as ClosedRange<UInt64>) func pausedLeader(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let old = try #require(simulation.startCluster())
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: old))))
        // A round of confirmations may be in progress, or begin only afterwards.
        var reads = seed % 4 == 0 ? [] : [simulation.get("k", at: old)]
        simulation.run(for: seed * 50)
        simulation.pause(simulation.nodes[old])
        // Awake, the old leader hears of the new one at once, or nothing at all.
        if seed % 2 == 0 { simulation.split([[old], others(simulation, than: old)]) }
        let new = try #require(simulation.awaitLeader(otherThan: [old]))
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: new))))
        for _ in 0..<5 { reads.append(simulation.get("k", at: old)) }
        simulation.resume(simulation.nodes[old])
        for read in reads { _ = simulation.awaitOutcome(of: read) }
        finish(simulation, seed: seed)
    }

    /// readindex-new-leader: a new leader answers reads only once it knows what the old one committed.
    @Test(arguments: 1...10 as ClosedRange<UInt64>) func readsAtANewLeader(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed) { $0.syncTime = 5_000...20_000 }
        let old = try #require(simulation.startCluster())
        let writes = (0..<10).map { _ in simulation.put("k", at: old) }
        simulation.run(within: 1_000_000) { isWritten(simulation.outcome(of: writes[5])) }
        // The last acknowledged writes are committed, but no follower has heard so.
        simulation.crash(simulation.nodes[old], restartAfter: nil)
        let isElected = simulation.run(within: 5_000_000) { simulation.leaderPosition != nil }
        #expect(isElected)
        if let new = simulation.leaderPosition {
            for _ in 0..<5 { _ = simulation.get("k", at: new) }
            simulation.run(for: Self.electionTime)
        }
        finish(simulation, seed: seed)
    }

    /// Another leader's entry at the index of a proposal is no answer to it.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func entryOfAnotherTerm(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed) { $0.nodeOptions.requestWaitTicks = 1_000 }
        let old = try #require(simulation.startCluster())
        simulation.split([[old], others(simulation, than: old)])
        let lost = (0..<3).map { simulation.put("k\($0)", at: old) }
        simulation.run(for: 20_000)
        simulation.pause(simulation.nodes[old])
        let new = try #require(simulation.awaitLeader(otherThan: [old]))
        for index in 0..<4 {
            #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index)", at: new))))
        }
        simulation.deliverCommitted(from: new, to: old)
        simulation.resume(simulation.nodes[old])
        for token in lost {
            let outcome = simulation.awaitOutcome(of: token)
            guard case .unknown? = outcome else {
                Issue.record("seed \(seed): a proposal that was replaced ended as \(String(describing: outcome))")
                continue
            }
        }
        finish(simulation, seed: seed)
    }

    /// A restarted follower of an idle cluster catches up with the commit index, and serves reads.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func idleClusterAfterRestart(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let leader = try #require(simulation.startCluster())
        for index in 0..<5 {
            #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index)", at: leader))))
        }
        simulation.run(for: Self.electionTime)
        for peer in others(simulation, than: leader) {
            simulation.crash(simulation.nodes[peer], restartAfter: 10_000)
            simulation.run(for: Self.electionTime / 4)
            simulation.run(within: 10 * Self.electionTime) { simulation.core(of: peer)?.commit == 6 }
            let read = simulation.awaitOutcome(of: simulation.get("k4", at: peer))
            guard case .answered? = read else {
                Issue.record("seed \(seed): a restarted follower does not serve: \(String(describing: read))")
                continue
            }
        }
        finish(simulation, seed: seed)
    }

    /// amnesia: a node that lost its disk counts for nothing until the others have recorded its new one.
    @Test(arguments: 1...6 as ClosedRange<UInt64>) func amnesia(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let leader = try #require(simulation.startCluster())
        let peers = others(simulation, than: leader)
        // One peer holds what is committed, the other nothing of it.
        simulation.split([[leader, peers[0]], [peers[1]]])
        for index in 0..<10 {
            #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index)", at: leader))))
        }
        simulation.wipe(simulation.nodes[peers[0]], restartAfter: 10_000)
        simulation.run(for: 5 * Self.electionTime)
        #expect(!isWritten(simulation.awaitOutcome(of: simulation.put("k", at: leader))))
        // Now the leader is away, and only the two are left that know nothing: they must not elect one of them.
        simulation.split([[leader], peers])
        simulation.run(for: 20 * Self.electionTime)
        for peer in peers { #expect(simulation.core(of: peer)?.isLeader == false) }
        simulation.heal()
        finish(simulation, seed: seed)
        #expect(simulation.coverage[.readmissions] == 1)
    }

    /// liveness-heal: whatever happened, a whole network and running nodes are enough.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func healing(seed: UInt64) throws {
        let simulation = cluster(5, seed: seed)
        _ = try #require(simulation.startCluster())
        simulation.startLoad()
        simulation.split([[0, 1], [2, 3], [4]])
        simulation.run(for: 5 * Self.electionTime)
        for node in simulation.nodes { simulation.crash(node, restartAfter: 50_000) }
        simulation.run(for: 5 * Self.electionTime)
        finish(simulation, seed: seed)
    }

    /// gray-follower: a follower whose disk takes a second for each sync holds up nobody.
    @Test(arguments: 1...3 as ClosedRange<UInt64>) func grayFollower(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed) { $0.syncTime = 1_000...1_000 }
        let leader = try #require(simulation.startCluster())
        simulation.slowDown(others(simulation, than: leader)[0], by: 1_000)
        for index in 0..<100 {
            let start = simulation.now
            #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index % 5)", at: leader))))
            #expect(simulation.now - start < 50_000)
        }
        finish(simulation, seed: seed)
        #expect(simulation.leaderPosition == leader)
    }

    /// single-node: a cluster of one acknowledges only what its own disk holds.
    @Test(arguments: 1...3 as ClosedRange<UInt64>) func singleNode(seed: UInt64) throws {
        let simulation = cluster(1, seed: seed)
        let leader = try #require(simulation.startCluster())
        for index in 0..<20 {
            #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index)", at: leader))))
            if index % 5 == 4 {
                simulation.crash(simulation.nodes[0], keep: MemoryFileSystem.Keep.none, restartAfter: 10_000)
                #expect(simulation.awaitLeader() == 0)
            }
        }
        finish(simulation, seed: seed)
    }
}
