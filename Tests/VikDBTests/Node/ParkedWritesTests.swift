import Testing
import VikDB
import VikWire

/// Writes that come while nobody is known to lead, or the office is being handed over: they wait a moment, and no more
/// of them than there is room for.
@Suite struct ParkedWritesTests {
    private static func node(_ change: (inout NodeOptions) -> Void = { _ in }) throws -> ShellHarness {
        var options = ShellHarness.impatient
        change(&options)
        return try ShellHarness(members: 3, options: options)
    }

    @Test func proposedHereOnceThisNodeLeads() throws {
        let node = try Self.node()
        let writes = (0..<3).map { _ in node.put([1]) }
        node.run()
        #expect(writes.allSatisfy { node.outcome(of: $0) == nil })
        node.elect()
        node.acknowledge(from: 2)
        #expect(writes.allSatisfy { node.isWritten($0) })
        // In the order in which they came.
        #expect(node.core.lastIndex == 4)
    }

    @Test func sentToTheNewLeader() throws {
        let node = try Self.node()
        let writes = (0..<3).map { _ in node.put([1]) }
        node.run()
        node.step(.heartbeat(1), from: 3)
        for write in writes {
            #expect(node.refusal(of: write) == .notLeader(leader: ShellHarness.apiAddress(3)))
        }
        // And so is the next one, at once.
        #expect(node.refusal(of: node.putAndRun([1])) == .notLeader(leader: ShellHarness.apiAddress(3)))
    }

    @Test func givenUpInTime() throws {
        let node = try Self.node { $0.leaderWaitTicks = 20 }
        let early = node.put([1])
        node.tick(10)
        let late = node.put([1])
        node.tick(9)
        #expect(node.outcome(of: early) == nil)
        node.tick(1)
        #expect(node.refusal(of: early) == .noQuorum && node.outcome(of: late) == nil)
        node.tick(9)
        #expect(node.outcome(of: late) == nil)
        node.tick(1)
        #expect(node.refusal(of: late) == .noQuorum)
    }

    @Test func boundedInNumber() throws {
        let node = try Self.node {
            $0.leaderWaitTicks = 20
            $0.maxWaitingWrites = 3
        }
        let early = node.put([1])
        node.tick(10)
        let late = (0..<2).map { _ in node.put([1]) }
        #expect(node.refusal(of: node.putAndRun([1])) == .overloaded)
        #expect(([early] + late).allSatisfy { node.outcome(of: $0) == nil })
        // The first one's time is up: there is room for one.
        node.tick(10)
        #expect(node.refusal(of: early) == .noQuorum)
        #expect(node.outcome(of: node.putAndRun([1])) == nil)
        #expect(node.refusal(of: node.putAndRun([1])) == .overloaded)
    }

    @Test func boundedInBytes() throws {
        let node = try Self.node {
            $0.leaderWaitTicks = 20
            $0.raft.maxUncommittedBytes = 1_000
        }
        // Of 514 bytes each: what is under the limit is taken whole.
        let value = [UInt8](repeating: 7, count: 500)
        let early = node.put(value)
        node.tick(10)
        let late = node.put(value)
        #expect(node.refusal(of: node.putAndRun(value)) == .overloaded)
        #expect(node.refusal(of: node.putAndRun([])) == .overloaded)
        node.tick(10)
        #expect(node.refusal(of: early) == .noQuorum)
        let third = node.putAndRun(value)
        #expect(node.outcome(of: third) == nil)
        #expect(node.refusal(of: node.putAndRun(value)) == .overloaded)
        // Nothing of those that are gone is counted on.
        node.tick(20)
        #expect(node.refusal(of: late) == .noQuorum && node.refusal(of: third) == .noQuorum)
        #expect((0..<2).allSatisfy { _ in node.outcome(of: node.putAndRun(value)) == nil })
        #expect(node.refusal(of: node.putAndRun(value)) == .overloaded)
    }

    @Test func answeredWhenTheNodeStops() throws {
        let node = try Self.node()
        let write = node.putAndRun([1])
        node.handle(.stop)
        #expect(node.refusal(of: write) == .noQuorum)
    }

    // MARK: While the office is handed over

    private static func handingOver() throws -> (node: ShellHarness, change: UInt64) {
        let node = try node()
        node.elect()
        node.acknowledge(from: 3)
        let change = node.administer(.handOver(to: "node2"))
        node.run()
        #expect(node.core.isHandingOver)
        return (node, change)
    }

    @Test func sentToTheOneThatTookOver() throws {
        let (node, change) = try Self.handingOver()
        let write = node.putAndRun([1])
        #expect(node.outcome(of: write) == nil)
        let request = VoteRequest(
            term: 2, isPreVote: false, isHandOver: true, lastIndex: node.core.lastIndex, lastTerm: 1)
        node.step(.voteRequest(request), from: 2)
        node.run(.log)
        #expect(node.peers.take(to: 2).contains(.vote(2, granted: true)) && node.outcome(of: write) == nil)
        node.step(.heartbeat(2), from: 2)
        #expect(node.refusal(of: write) == .notLeader(leader: ShellHarness.apiAddress(2)))
        guard case .administered? = node.outcome(of: change) else {
            Issue.record("the hand-over ended as \(String(describing: node.outcome(of: change)))")
            return
        }
    }

    @Test func proposedHereIfNobodyTakesOver() throws {
        let (node, change) = try Self.handingOver()
        let write = node.putAndRun([1])
        node.tick(29, answeredBy: [2, 3])
        #expect(node.outcome(of: write) == nil && node.core.isHandingOver)
        node.tick(1, answeredBy: [2, 3])
        #expect(!node.core.isHandingOver && node.core.isLeader)
        node.acknowledge(from: 2)
        #expect(node.isWritten(write))
        guard case .notAdministered(.busy)? = node.outcome(of: change) else {
            Issue.record("the hand-over ended as \(String(describing: node.outcome(of: change)))")
            return
        }
    }

    @Test func boundedWhileHandingOver() throws {
        let node = try Self.node { $0.maxWaitingWrites = 2 }
        node.elect()
        // One that is proposed and not committed counts as well.
        let proposed = node.putAndRun([1])
        _ = node.administer(.handOver(to: "node2"))
        let parked = node.putAndRun([1])
        #expect(node.refusal(of: node.putAndRun([1])) == .overloaded)
        #expect(node.outcome(of: proposed) == nil && node.outcome(of: parked) == nil)
    }
}

extension ShellHarness {
    fileprivate func putAndRun(_ value: [UInt8]) -> UInt64 {
        let token = put(value)
        run()
        return token
    }
}
