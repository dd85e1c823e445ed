import Testing
import VikDB
import VikWire

/// Linearizable reads.
extension RaftPaperTests {
    @Test("diss. §6.4 no read is answered before an entry of the leader's own term is committed (etcd#7331)")
    func readBeforeNoOp() {
        var subject = RaftSubject(terms: [1, 1, 1], commit: 1)
        subject.elect()
        let read = subject.read()
        #expect(read.sent.heartbeats.isEmpty && subject.confirmedReads().isEmpty)
        subject.answerHeartbeat(from: 2)
        #expect(subject.confirmedReads().isEmpty && subject.core.isReadPending)
        let round = subject.match(4, from: 2).heartbeats
        #expect(round.map(\.round) == [1, 1])
        subject.answerHeartbeat(round: 1, from: 2)
        #expect(subject.node.confirmedReads.map(\.index) == [4])
    }

    @Test("diss. §6.4 a round counts only acknowledgements of its own heartbeats, or of later ones")
    func roundCountsLaterAnswers() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        _ = subject.tick(5)  // an ordinary heartbeat, of round 0, is out when the read begins
        let read = subject.read()
        subject.answerHeartbeat(round: 0, from: 2)
        subject.answerHeartbeat(round: 0, from: 3)
        #expect(subject.confirmedReads().isEmpty)
        subject.answerHeartbeat(round: 1, from: 3)
        #expect(subject.confirmedReads() == [read.context])
    }

    @Test("diss. §6.4 answers of one follower count once; a majority must answer")
    func roundNeedsMajority() {
        var subject = RaftSubject(members: 5)
        subject.elect(by: [2, 3])
        subject.match(2, from: 2)
        subject.match(2, from: 3)
        let read = subject.read()
        for _ in 0..<3 { subject.answerHeartbeat(round: 1, from: 4) }
        #expect(subject.confirmedReads().isEmpty)
        subject.answerHeartbeat(round: 1, from: 5)
        #expect(subject.confirmedReads() == [read.context])
        subject.answerHeartbeat(round: 1, from: 2)
        #expect(subject.confirmedReads().isEmpty)
    }

    @Test("diss. §6.4 a read that begins during a round waits for the next")
    func readDuringRound() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        _ = subject.read()
        subject.step(.readIndexRequest(ReadIndexRequest(term: 2, context: 77)), from: 3)
        subject.propose()
        subject.match(3, from: 2)
        #expect(subject.answerHeartbeat(round: 1, from: 3).heartbeats.map(\.round) == [2, 2])
        #expect(subject.node.confirmedReads.map(\.index) == [2])
        let answers = subject.answerHeartbeat(round: 2, from: 2).to(3)
        #expect(answers == [.readIndexReply(ReadIndexReply(term: 2, context: 77, index: 3))])
    }

    @Test("diss. §6.4 a repeated request of a follower takes one place, its newest context")
    func repeatedRequest() {
        var subject = RaftSubject()
        subject.elect()
        for context in [5, 5, 6] as [UInt64] {
            subject.step(.readIndexRequest(ReadIndexRequest(term: 2, context: context)), from: 3)
        }
        subject.match(2, from: 2)
        #expect(
            subject.answerHeartbeat(round: 1, from: 2).to(3)
                == [.readIndexReply(ReadIndexReply(term: 2, context: 6, index: 2))])
    }

    @Test("diss. §6.4 a follower asks the leader, takes one answer, and ignores stale and foreign ones")
    func followerRead() {
        var subject = RaftSubject()
        subject.step(.append(term: 1, after: (1, 1), [1]), from: 2)
        let read = subject.read()
        #expect(read.sent.to(2) == [.readIndexRequest(ReadIndexRequest(term: 1, context: read.context))])
        func answer(term: Term = 1, context: UInt64) -> Message {
            .readIndexReply(ReadIndexReply(term: term, context: context, index: 9))
        }
        let refusal = subject.refusal(of: answer(context: read.context), from: 3)
        #expect(refusal == .secondLeader(term: 1, leader: Names.member(2)))
        subject.step(answer(context: read.context + 1), from: 2)
        subject.step(answer(term: 0, context: read.context), from: 2)
        #expect(subject.confirmedReads().isEmpty && subject.core.isReadPending)
        subject.step(answer(context: read.context), from: 2)
        #expect(subject.node.confirmedReads.map(\.index) == [9])
        #expect(subject.confirmedReads() == [read.context] && !subject.core.isReadPending)
        // Read indexes commit only what this leader has verified.
        #expect(subject.core.commit == 2)
        subject.step(answer(context: read.context), from: 2)
        #expect(subject.confirmedReads().isEmpty)
    }

    @Test("diss. §6.4 a follower asks again: a new leader at once, the same one after a while")
    func followerAsksAgain() {
        var subject = RaftSubject()
        let read = subject.read()
        #expect(read.sent.isEmpty)
        let request = { (term: Term) in
            Message.readIndexRequest(ReadIndexRequest(term: term, context: read.context))
        }
        subject.step(.heartbeat(1), from: 2)
        #expect(subject.tick().to(2) == [request(1)])
        #expect(subject.tick(14).isEmpty)
        #expect(subject.tick().to(2) == [request(1)])
        subject.step(.heartbeat(2), from: 3)
        #expect(subject.tick().to(3) == [request(2)])
    }

    @Test(
        "diss. §6.4 a follower whose answer got lost asks again at a heartbeat, which shows that the leader reaches it")
    func followerAsksAgainAtAHeartbeat() {
        var subject = RaftSubject()
        subject.step(.heartbeat(1), from: 2)
        let read = subject.read()
        let request = Message.readIndexRequest(ReadIndexRequest(term: 1, context: read.context))
        #expect(read.sent.to(2) == [request])
        func asksAtHeartbeat() -> Bool { subject.step(.heartbeat(1), from: 2).to(2).contains(request) }
        // The answer may still be on its way.
        #expect(subject.tick(4).isEmpty && !asksAtHeartbeat())
        #expect(subject.tick().isEmpty && asksAtHeartbeat() && !asksAtHeartbeat())
        #expect(subject.tick(5).isEmpty && asksAtHeartbeat())
        subject.step(.readIndexReply(ReadIndexReply(term: 1, context: read.context, index: 1)), from: 2)
        #expect(subject.tick(5).isEmpty && !asksAtHeartbeat())
    }

    @Test("diss. §6.4 a read at a leader that loses its office is answered by the next one, never by the old round")
    func readOverStepDown() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        let read = subject.read()
        subject.step(.heartbeat(3), from: 3)
        subject.step(.heartbeatReply(HeartbeatReply(term: 2, round: 1, verified: 0)), from: 2)
        #expect(subject.confirmedReads().isEmpty)
        #expect(subject.tick().to(3) == [.readIndexRequest(ReadIndexRequest(term: 3, context: read.context))])
    }

    @Test("diss. §6.4 a cluster of one answers reads once its own entry is durable")
    func readInClusterOfOne() {
        var subject = RaftSubject(members: 1)
        subject.holdsDisk = true
        subject.tick()
        subject.persist()
        let read = subject.read()
        #expect(subject.core.isLeader && subject.confirmedReads().isEmpty)
        subject.persist()
        #expect(subject.confirmedReads() == [read.context])
    }

    @Test("diss. §6.4 an answer of a round beyond any that began confirms none to come")
    func answerFromTheFuture() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        let answer = Message.heartbeatReply(HeartbeatReply(term: 2, round: 1_000, verified: 2))
        #expect(subject.refusal(of: answer, from: 2) == .confirmsUnknown(round: 1_000, newest: 0))
        _ = subject.read()
        #expect(subject.confirmedReads().isEmpty)
    }
}
