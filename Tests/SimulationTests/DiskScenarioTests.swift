import Testing
import VikDB
import VikTestSupport

/// disk-full and slow-disk, at a leader and at a follower.
extension ScenarioTests {
    /// A tick, and the time a message takes.
    private static let moment: UInt64 = 15_000

    private func diskCluster(_ seed: UInt64) -> Simulation {
        cluster(3, seed: seed) {
            $0.syncTime = 1_000...1_000
            $0.nodeOptions.minFreeBytes = UInt64(2 * $0.logOptions.segmentBytes)
            // Nodes look at their disks seldom enough to be taken by surprise.
            $0.nodeOptions.housekeepingTicks = 200
        }
    }

    /// A leader whose disk hangs leaves its office after one election timeout. Nobody waits for another one, and it does
    /// not stand itself, even if nobody else can be elected.
    @Test(arguments: 1...3 as ClosedRange<UInt64>) func stalledLeader(seed: UInt64) throws {
        let simulation = diskCluster(seed)
        let old = try #require(simulation.startCluster())
        simulation.run(for: Self.electionTime / 4)
        simulation.slowDown(old, by: 5_000)
        let start = simulation.now
        let write = simulation.put("k", at: old)
        simulation.run(within: 2 * Self.electionTime) { simulation.core(of: old)?.isLeader == false }
        let time = simulation.now - start
        #expect(time >= Self.electionTime - Self.moment && time <= Self.electionTime + Self.moment, "\(time) us")
        let new = try #require(simulation.awaitLeader(otherThan: [old], within: Self.moment))
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: new))))

        simulation.crash(simulation.nodes[new], restartAfter: 10 * Self.electionTime)
        let stands = simulation.run(within: 8 * Self.electionTime) { simulation.core(of: old)?.role != .follower }
        #expect(!stands, "the disk still hangs")
        finish(simulation, seed: seed)
        // The others have the write, and it is known to be committed; nobody may say that it is not.
        if case .notApplied? = simulation.outcome(of: write) { Issue.record("the write counts as not applied") }
    }

    /// A leader whose log is full refuses writes, leaves its office, and is a member like any other once it has room.
    @Test(arguments: 1...3 as ClosedRange<UInt64>) func fullLeader(seed: UInt64) throws {
        let simulation = diskCluster(seed)
        let old = try #require(simulation.startCluster())
        simulation.run(for: Self.electionTime / 4)
        simulation.fillDisk(of: old)
        let writes = (0..<40).map { simulation.put("k\($0 % 5)", at: old) }
        let isFull = simulation.run(within: Self.electionTime) { simulation.core(of: old)?.isLogFull == true }
        try #require(isFull)
        let start = simulation.now
        let refused = simulation.awaitOutcome(of: simulation.put("k", at: old))
        guard case .notApplied(.diskFull)? = refused else {
            Issue.record("seed \(seed): a write at a full leader ended as \(String(describing: refused))")
            return
        }
        let new = try #require(simulation.awaitLeader(otherThan: [old], within: 2 * Self.electionTime))
        #expect(simulation.now - start <= Self.electionTime + 2 * Self.moment, "\(simulation.now - start) us")
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: new))))
        for write in writes { _ = simulation.awaitOutcome(of: write) }
        #expect(simulation.core(of: old)?.role == .follower && simulation.core(of: old)?.isLogFull == true)
        simulation.makeRoom(on: old)
        let isBack = simulation.run(within: 3_000_000) { simulation.core(of: old)?.isLogFull == false }
        #expect(isBack)
        finish(simulation, seed: seed)
    }

    /// A follower whose log is full acknowledges nothing, but its vote elects a leader that has what it lacks.
    @Test(arguments: 1...5 as ClosedRange<UInt64>) func fullFollower(seed: UInt64) throws {
        let simulation = diskCluster(seed)
        let old = try #require(simulation.startCluster())
        let (full, other) = (others(simulation, than: old)[0], others(simulation, than: old)[1])
        simulation.run(for: Self.electionTime / 4)
        simulation.fillDisk(of: full)
        for index in 0..<60 where simulation.core(of: full)?.isLogFull == false {
            #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index % 5)", at: old))))
        }
        try #require(simulation.core(of: full)?.isLogFull == true)
        for index in 0..<5 {
            #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index)", at: old))))
        }
        simulation.crash(simulation.nodes[old], restartAfter: nil)
        // One timeout until it is noticed, and one more if the vote was split: there is nobody to split it with.
        let isElected = simulation.run(within: Self.electionTime + 2 * Self.moment) {
            simulation.core(of: other)?.isLeader == true
        }
        #expect(isElected, "seed \(seed): the vote of a full follower is not given")
        let write = simulation.awaitOutcome(of: simulation.put("k", at: other))
        #expect(!isWritten(write), "one disk of three took it")
        #expect(simulation.core(of: other)?.isLeader == true && simulation.core(of: full)?.role == .follower)
        simulation.makeRoom(on: full)
        let serves = simulation.run(within: 5_000_000) {
            simulation.core(of: other)?.commit == simulation.core(of: other)?.lastIndex
        }
        #expect(serves && simulation.core(of: other)?.isLeader == true)
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: other))))
        finish(simulation, seed: seed)
    }

    /// A leader that can make no further file hands over to one that can, and votes as ever; if nobody has room nothing
    /// changes, and nobody loses its office in turns.
    @Test(arguments: 1...5 as ClosedRange<UInt64>) func leaderWithoutFiles(seed: UInt64) throws {
        let simulation = diskCluster(seed)
        let old = try #require(simulation.startCluster())
        simulation.run(for: Self.electionTime / 4)
        for index in 0..<10 { #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k\(index)", at: old)))) }
        simulation.useUpFiles(of: old)
        let new = try #require(simulation.awaitLeader(otherThan: [old], within: 10_000_000))
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: new))))
        // Now all are full, one after the other: the office stays where the last of them had it.
        for position in others(simulation, than: old) { simulation.useUpFiles(of: position) }
        simulation.run(for: 10_000_000)
        let last = try #require(simulation.nodes.indices.first { simulation.core(of: $0)?.isLeader == true })
        let term = simulation.core(of: last)?.term
        simulation.run(for: 30_000_000)
        #expect(simulation.core(of: last)?.isLeader == true && simulation.core(of: last)?.term == term, "seed \(seed)")
        // Full as they are, they elect another one.
        simulation.crash(simulation.nodes[last], restartAfter: nil)
        #expect(simulation.awaitLeader(otherThan: [last], within: 10 * Self.electionTime) != nil)
        for position in simulation.nodes.indices { simulation.makeRoom(on: position) }
        simulation.run(for: 10_000_000)
        let leader = try #require(simulation.awaitLeader(otherThan: [last], within: 10 * Self.electionTime))
        #expect(isWritten(simulation.awaitOutcome(of: simulation.put("k", at: leader))))
        finish(simulation, seed: seed)
    }
}
