import Testing
import VikDB
import VikTestSupport
import VikWire

/// A node that asks who it is gets no answer from the past.
@Suite struct JoinReplyTests {
    private static func rounds(_ node: ShellHarness, to number: Int) -> [UInt64] {
        node.peers.take(to: number).compactMap {
            if case .heartbeat(let heartbeat) = $0 { heartbeat.round } else { nil }
        }
    }

    @Test func leaderAnswersOnceAMajorityHasConfirmedIt() throws {
        let node = try ShellHarness(members: 3)
        node.elect()
        _ = Self.rounds(node, to: 2)
        let answer = node.ask("node2")
        node.tick(10)
        #expect(answer.replies.isEmpty)
        let round = try #require(Self.rounds(node, to: 2).max())
        #expect(round > 0)
        node.step(.heartbeatReply(HeartbeatReply(term: node.core.term, round: round, verified: 0)), from: 2)
        #expect(answer.replies == [.member(ShellHarness.member(2), node.core.configuration!)])
        let stranger = node.ask("somebody")
        let next = try #require(Self.rounds(node, to: 2).max())
        #expect(next > round)
        node.step(.heartbeatReply(HeartbeatReply(term: node.core.term, round: next, verified: 0)), from: 2)
        #expect(stranger.replies == [.unknown] && answer.replies.count == 1)
    }

    /// The member was removed and added again under another id, which this node does not know yet.
    @Test func laggingFollowerWaitsUntilItKnows() throws {
        let node = try ShellHarness(members: 3)
        node.step(node.firstAppend, from: 2)
        node.run(.log, .apply)
        let answer = node.ask("node3")
        node.tick(2)
        let request = try #require(
            node.peers.take(to: 2).compactMap { message -> ReadIndexRequest? in
                if case .readIndexRequest(let request) = message { request } else { nil }
            }.last)
        node.step(.readIndexReply(ReadIndexReply(term: 1, context: request.context, index: 3)), from: 2)
        node.tick(1)
        #expect(answer.replies.isEmpty, "it knows one entry of three")
        let removed = node.configuration.removing(ShellHarness.member(3))
        let added = removed.adding(
            Member(
                id: MemberID(rawValue: 3), store: .zero, role: .learner, address: ShellHarness.address(3),
                label: "node3"))
        let entries = [(2, removed), (3, added)].map { index, configuration in
            Entry(index: LogIndex(index), term: 1, kind: .configuration, payload: configuration.encoded())
        }
        node.step(
            .append(AppendRequest(term: 1, previousIndex: 1, previousTerm: 1, commit: 3, entries: entries)), from: 2)
        node.run(.log, .apply)
        #expect(answer.replies == [.member(MemberID(rawValue: 3), added)])
    }

    @Test func nobodyAnswersAlone() throws {
        let node = try ShellHarness(members: 3)
        node.step(node.firstAppend, from: 2)
        node.run(.log, .apply)
        node.tick(61)
        let answer = node.ask("node3")
        node.tick(24)
        #expect(answer.replies.isEmpty)
        node.tick(1)
        #expect(answer.replies == [nil])
        // Neither does one that stops.
        let last = node.ask("node3")
        node.handle(.stop)
        node.tick(30)
        #expect(last.replies == [nil])
        #expect(node.ask("node3").replies == [nil])
    }

    @Test func onlySoManyWait() throws {
        let node = try ShellHarness(members: 3)
        let answers = (0..<65).map { _ in node.ask("node3") }
        #expect(answers[..<64].allSatisfy { $0.replies.isEmpty } && answers[64].replies == [nil])
        node.tick(25)
        #expect(answers.allSatisfy { $0.replies == [nil] })
    }
}
