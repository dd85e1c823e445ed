import Testing
import VikDB
import VikTestSupport
import VikWire

/// What a node says and does whose store is not the one on record, or not what it was; and what it says to such a one.
@Suite struct StoreTroubleTests {
    private static func hello(
        _ number: Int, store: StoreID? = nil, state: StoreState = .entries, end: LogEnd? = nil
    ) -> Hello {
        var hello = Hello(
            features: HelloFeatures.own.rawValue, channel: .control, incarnation: Incarnation(high: 7, low: 7),
            member: ShellHarness.member(number), peer: ShellHarness.member(1),
            store: store ?? ShellHarness.store(number), state: state, label: "node\(number)",
            address: ShellHarness.address(number), apiAddress: ShellHarness.apiAddress(number))
        hello.logEnd = end
        return hello
    }

    private static func leader() throws -> ShellHarness {
        let node = try ShellHarness(members: 3)
        node.elect()
        node.acknowledge(from: 3)
        return node
    }

    @Test func refusedNodeIsNotReadyAndSaysWhy() throws {
        let node = try ShellHarness(members: 3)
        node.step(node.firstAppend, from: 2)
        node.run(.log, .apply)
        // Its leader goes; then it is told.
        node.tick(61)
        node.handle(.storeRefused(Self.hello(3)))
        node.tick(1)
        let trouble = try #require(node.status.trouble)
        #expect(trouble.contains("node3 refuses this node: other directories are on record"), "\(trouble)")
        #expect(trouble.contains("60 s"), "\(trouble)")
        // A leader talks to it: it counts after all.
        node.step(.heartbeat(node.core.term), from: 2)
        node.tick(1)
        #expect(node.status.trouble == nil, "\(node.status.trouble ?? "")")
    }

    @Test func leaderRefusesAnotherStoreWhileTheRecordedIsHeard() throws {
        let node = try Self.leader()
        let zombie = Self.hello(2, store: StoreID(high: 2, low: 9))
        #expect(node.storeRefusal(of: zombie)?.contains("which are in use: it was replaced") == true)
        #expect(node.storeRefusal(of: Self.hello(2)) == nil)
        node.tick(60, answeredBy: [3])
        #expect(node.storeRefusal(of: zombie)?.contains("have been silent for 60 s") == true)
        // A connection of the recorded store that this node accepts is heard, too.
        node.handle(.peerAccepted(Self.hello(2)))
        #expect(node.storeRefusal(of: zombie)?.contains("which are in use") == true)
    }

    @Test func leaderTellsAMemberWhatItHasLost() throws {
        let node = try Self.leader()
        let last = node.core.lastIndex
        let known = node.core.acknowledgedLog(of: ShellHarness.member(2))
        _ = node.peers.take(to: 2)
        let end = LogEnd(term: node.core.term, durableIndex: 0, durableTerm: 0, commitIndex: 0, commitTerm: 0)
        node.handle(.peerConnected(Self.hello(2, end: end), acknowledged: known))
        node.tick(5, answeredBy: [3])
        let verdict = Message.storeVerdict(StoreVerdict(term: node.core.term, finding: .lost(last)))
        // At once, and in place of a heartbeat.
        #expect(node.peers.take(to: 2) == [verdict, verdict])
    }

    @Test func nodeThatHasLostSomethingStops() throws {
        let node = try ShellHarness(members: 3)
        node.step(node.firstAppend, from: 2)
        node.run(.log, .apply)
        let write = node.put([1])
        node.step(.storeVerdict(StoreVerdict(term: 1, finding: .lost(9))), from: 2)
        guard case .rolledBack(_, let reason)? = node.failure else {
            Issue.record("the node did not stop: \(String(describing: node.failure))")
            return
        }
        #expect(reason.contains("acknowledged entries up to 9 to node2, which leads in term 1"), "\(reason)")
        #expect(reason.contains("its log ends at 1") && reason.contains("docs/"), "\(reason)")
        #expect(node.status.trouble?.contains("an older copy") == true && node.outcome(of: write) != nil)
        // It votes for nobody any more.
        _ = node.peers.take(to: 3)
        node.step(.voteRequest(9, last: (9, 9)), from: 3)
        node.tick(200)
        #expect(node.peers.take(to: 3).isEmpty)
    }

    @Test func nodeThatHoldsWhatAMajorityHasLostStops() throws {
        let node = try ShellHarness(members: 3)
        node.step(node.firstAppend, from: 2)
        node.step(.append(term: 1, after: (1, 1), [1, 1], commit: 3), from: 2)
        node.run(.log, .apply)
        #expect(node.core.commit == 3)
        _ = node.peers.take(to: 3)
        node.step(.append(term: 2, after: (1, 1), [2], commit: 1), from: 3)
        node.run(.log, .apply)
        guard case .rolledBack(_, let reason)? = node.failure else {
            Issue.record("the node did not stop: \(String(describing: node.failure))")
            return
        }
        #expect(reason.contains("entry 2 of term 1 is committed here, and node3, which leads, has one of term 2"))
        #expect(reason.contains("Keep these directories"), "\(reason)")
        #expect(node.peers.take(to: 3).isEmpty)
    }
}
