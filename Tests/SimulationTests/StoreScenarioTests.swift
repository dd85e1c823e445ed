import Testing
import VikDB
import VikTestSupport
import VikWire

/// Disks that come back: one that was replaced, one that was away, one that is an older copy of itself.
extension ScenarioTests {
    /// Writes that must succeed, one after the other.
    private func write(_ count: Int, at leader: Int, _ simulation: Simulation) {
        for index in 0..<count {
            #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index % 4)", at: leader))))
        }
    }

    /// Whether the configuration that is committed at `leader` records the store that `position` has now.
    private func isRecorded(_ position: Int, at leader: Int, _ simulation: Simulation) -> Bool {
        simulation.isOnRecord(simulation.nodes[position], at: leader)
    }

    /// zombie: the machine that was replaced comes back in turns with its replacement. Neither throws the other out at
    /// once, the term does not climb, and every write succeeds.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func replacedDisksInTurns(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let leader = try #require(simulation.startCluster())
        let node = simulation.nodes[others(simulation, than: leader)[0]]
        write(5, at: leader, simulation)
        simulation.wipe(node, restartAfter: 10_000)
        #expect(simulation.run(within: 5_000_000) { isRecorded(node.position, at: leader, simulation) })
        let term = try #require(simulation.core(of: leader)?.term)
        for round in 0..<6 {
            simulation.bringBack(node, restartAfter: 20_000)
            let isZombie = round % 2 == 0
            // Less than the patience with a used store.
            simulation.run(for: 1_000_000)
            #expect(isRecorded(node.position, at: leader, simulation) == !isZombie, "round \(round)")
            write(3, at: leader, simulation)
        }
        #expect(simulation.core(of: leader)?.term == term && simulation.coverage[.storesRefused] > 0)
        finish(simulation, seed: seed)
    }

    /// The disk was not there at one start, an empty one was recorded; then it is back for good, and takes its place again.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func diskThatWasAwayAtOneStart(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let leader = try #require(simulation.startCluster())
        let node = simulation.nodes[others(simulation, than: leader)[0]]
        write(5, at: leader, simulation)
        simulation.wipe(node, restartAfter: 10_000)
        #expect(simulation.run(within: 5_000_000) { isRecorded(node.position, at: leader, simulation) })
        simulation.bringBack(node, restartAfter: 20_000)
        simulation.run(for: 1_500_000)
        #expect(!isRecorded(node.position, at: leader, simulation))
        #expect(simulation.run(within: 5_000_000) { isRecorded(node.position, at: leader, simulation) })
        write(5, at: leader, simulation)
        finish(simulation, seed: seed)
    }

    /// The same, but the empty one was not yet recorded: nothing has changed.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func emptyDiskForAMoment(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let leader = try #require(simulation.startCluster())
        let node = simulation.nodes[others(simulation, than: leader)[0]]
        write(5, at: leader, simulation)
        let index = try #require(simulation.core(of: leader)?.lastIndex)
        simulation.wipe(node, restartAfter: 1_000)
        simulation.run(for: Self.electionTime / 4)
        simulation.bringBack(node, restartAfter: 1_000)
        simulation.run(for: 2 * Self.electionTime)
        #expect(isRecorded(node.position, at: leader, simulation))
        #expect(simulation.core(of: leader)?.lastIndex == index, "no configuration was written")
        write(5, at: leader, simulation)
        finish(simulation, seed: seed)
    }

    /// rollback: an older copy of a follower's disk is put back. The leader notices at the first answer, the node stops,
    /// the others go on; with an empty disk it is a member again.
    @Test(arguments: 1...6 as ClosedRange<UInt64>) func olderCopyOfAFollower(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed)
        let leader = try #require(simulation.startCluster())
        let node = simulation.nodes[others(simulation, than: leader)[0]]
        write(5, at: leader, simulation)
        simulation.run(for: Self.electionTime)
        let copy = simulation.copyDisk(of: node)
        write(5, at: leader, simulation)
        simulation.run(for: Self.electionTime)
        let term = try #require(simulation.core(of: leader)?.term)
        simulation.rollBack(node, to: copy, restartAfter: 10_000)
        #expect(simulation.run(within: Self.electionTime) { node.hasNoticedRollback })
        write(5, at: leader, simulation)
        #expect(simulation.core(of: leader)?.term == term)
        simulation.wipe(node, restartAfter: 10_000)
        simulation.restart(node)
        finish(simulation, seed: seed)
        #expect(simulation.coverage[.readmissions] == 1)
    }

    /// A leader that loses entries which only it had acknowledged to nobody is no rollback, nor is a follower whose
    /// entries a new leader replaces: connections come and go while logs are cut.
    @Test(arguments: 1...6 as ClosedRange<UInt64>) func truncatedLogsAreNoRollback(seed: UInt64) throws {
        let simulation = cluster(3, seed: seed) { $0.syncTime = 1_000...20_000 }
        _ = try #require(simulation.startCluster())
        simulation.startLoad()
        for round in 0..<10 {
            let leader = try #require(simulation.awaitLeader(), "\(simulation.violation ?? "no leader")")
            let rest = others(simulation, than: leader)
            for index in 0..<5 { _ = simulation.put("k\(index)", at: leader) }
            simulation.run(for: UInt64(round) * 2_000)
            // One follower has what the other lacks; then the leader is alone, and its log is cut when it is back.
            simulation.split([[leader, rest[round % 2]], [rest[1 - round % 2]]])
            simulation.run(for: 10_000)
            simulation.split([[leader], rest])
            simulation.run(for: 2 * Self.electionTime)
            simulation.crash(simulation.nodes[rest[0]], restartAfter: 10_000)
            simulation.heal()
        }
        finish(simulation, seed: seed)
        #expect(simulation.coverage[.logTruncated] > 0)
    }
}
