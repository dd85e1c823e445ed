import Testing
import VikDB
import VikWire

/// RaftCore held against the Raft paper (Ongaro and Ousterhout 2014, "§") and Ongaro's dissertation ("diss. §"), rule by
/// rule. Member 1 is the one under test; the test plays all others.
@Suite("Raft, rule by rule")
struct RaftPaperTests {
    // MARK: §5.1 Terms

    @Test("§5.1 a higher term makes every role a follower of that term", arguments: 0..<4)
    func higherTerm(role: Int) {
        var subject = RaftSubject(members: 5)
        switch role {
        case 1: subject.campaign()
        case 2:
            subject.campaign()
            for voter in [2, 3] { subject.step(.vote(2, granted: true, isPreVote: true), from: voter) }
            #expect(subject.core.role == .candidate)
        case 3: subject.elect(by: [2, 3])
        default: break
        }
        subject.step(.matched(0, term: 9), from: 4)
        #expect(subject.core.term == 9 && subject.core.role == .follower && subject.core.leader == nil)
        #expect(subject.vote == .none)
        #expect(subject.node.timesDeposed == (role == 3 ? 1 : 0))
    }

    @Test("§5.1 a term below the own is answered with the own, and changes nothing")
    func lowerTerm() {
        var subject = RaftSubject(terms: [1, 1], term: 5)
        let answers =
            subject.step(.append(term: 4, after: (2, 1), [4], commit: 3), from: 2)
            + subject.step(.heartbeat(4, commit: 2), from: 3)
            + subject.step(.voteRequest(4, last: (9, 4)), from: 2)
        #expect(answers.map(\.message.term) == [5, 5, 5])
        #expect(subject.terms == [1, 1] && subject.core.commit == 0 && subject.core.leader == nil)
    }

    @Test("§5.1 what was decided in a term is durable before anyone is told of the term")
    func termIsDurableFirst() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        #expect(subject.step(.heartbeat(7), from: 2).isEmpty)
        #expect(subject.persist().map(\.message.term) == [7])
    }

    @Test("§5.1 terms beyond the protocol's limit are ignored")
    func absurdTerm() {
        var subject = RaftSubject()
        subject.step(.heartbeat(.max), from: 2)
        subject.step(.heartbeat(WireLimits.maxTerm + 1), from: 2)
        #expect(subject.core.term == 1)
    }

    // MARK: §5.2 Leader election

    @Test("§5.2 a node starts as a follower, and stays one while it hears from a leader")
    func followerStays() {
        var subject = RaftSubject()
        #expect(subject.core.role == .follower)
        for _ in 0..<20 {
            subject.tick(29)
            subject.step(.heartbeat(1), from: 2)
        }
        #expect(subject.core.role == .follower && subject.core.leader == Names.member(2) && subject.core.term == 1)
    }

    @Test("§5.2 election timeouts are random in their range, and differ from node to node")
    func randomTimeouts() {
        var seen: Set<Int> = []
        for seed in 0..<200 {
            var subject = RaftSubject(seed: UInt64(seed))
            var ticks = 0
            while subject.core.role == .follower, ticks <= 60 {
                subject.tick()
                ticks += 1
            }
            #expect(RaftOptions().electionTicks.contains(ticks))
            seen.insert(ticks)
        }
        #expect(seen.count > 20)
    }

    @Test("§5.2 a leader sends heartbeats to all at its interval")
    func heartbeats() {
        var subject = RaftSubject(members: 5)
        subject.elect(by: [2, 3])
        for _ in 0..<4 {
            #expect(subject.tick(4).heartbeats.isEmpty)
            #expect(subject.tick().heartbeats.count == 4)
        }
    }

    @Test("§5.2 votes decide: a majority of all members, no less", arguments: [1, 2, 3, 4, 5, 7])
    func majority(members: Int) {
        var subject = RaftSubject(members: members)
        subject.campaign()
        let needed = members / 2
        for isPreVote in [true, false] {
            for voter in 0..<needed {
                #expect(subject.core.role == (isPreVote ? .preCandidate : .candidate))
                subject.step(.vote(2, granted: true, isPreVote: isPreVote), from: voter + 2)
            }
        }
        #expect(subject.core.isLeader && subject.core.term == 2)
    }

    @Test("§5.2 a duplicate vote counts once, and so does one after a refusal")
    func duplicateVotes() {
        var subject = RaftSubject(members: 5)
        subject.campaign()
        for isPreVote in [true, false] {
            for _ in 0..<5 { subject.step(.vote(2, granted: true, isPreVote: isPreVote), from: 2) }
            #expect(subject.core.role == (isPreVote ? .preCandidate : .candidate))
            subject.step(.vote(isPreVote ? 1 : 2, granted: false, isPreVote: isPreVote), from: 4)
            subject.step(.vote(2, granted: true, isPreVote: isPreVote), from: 4)
            #expect(subject.core.role == (isPreVote ? .preCandidate : .candidate))
            subject.step(.vote(2, granted: true, isPreVote: isPreVote), from: 3)
        }
        #expect(subject.core.isLeader)
    }

    @Test("§5.2 votes of an earlier term, and pre-votes where votes are due, count for nothing")
    func staleVotes() {
        var subject = RaftSubject()
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: false), from: 2)
        #expect(subject.core.role == .follower || subject.core.role == .preCandidate)
        subject = RaftSubject()
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2)
        #expect(subject.core.role == .candidate && subject.core.term == 2)
        subject.step(.vote(2, granted: true, isPreVote: true), from: 3)
        #expect(subject.core.role == .candidate)
        subject.campaignAgain()
        subject.step(.vote(3, granted: true, isPreVote: true), from: 2)
        #expect(subject.core.role == .candidate && subject.core.term == 3)
        subject.step(.vote(2, granted: true), from: 3)
        #expect(subject.core.role == .candidate)
    }

    @Test("§5.2 a node grants one vote a term, first come first served")
    func oneVote() {
        var subject = RaftSubject()
        #expect(subject.step(.voteRequest(2, last: (1, 1)), from: 2).to(2) == [.vote(2, granted: true)])
        #expect(subject.step(.voteRequest(2, last: (1, 1)), from: 3).to(3) == [.vote(2, granted: false)])
        #expect(subject.step(.voteRequest(2, last: (1, 1)), from: 2).to(2) == [.vote(2, granted: true)])
        #expect(subject.vote == Names.member(2))
    }

    @Test("§5.2 a node grants one vote a term, over a restart too")
    func oneVoteOverRestart() {
        var subject = RaftSubject()
        subject.step(.voteRequest(2, last: (1, 1)), from: 2)
        subject.restart()
        #expect(subject.step(.voteRequest(2, last: (1, 1)), from: 3).to(3) == [.vote(2, granted: false)])
        #expect(subject.step(.voteRequest(2, last: (1, 1)), from: 2).to(2) == [.vote(2, granted: true)])
    }

    @Test("§5.2 a vote leaves only once it is durable; one lost in a crash was never given")
    func voteIsDurableFirst() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        #expect(subject.step(.voteRequest(2, last: (1, 1)), from: 2).isEmpty)
        // A repeated request does not get it out earlier either.
        #expect(subject.step(.voteRequest(2, last: (1, 1)), from: 2).isEmpty)
        subject.restart()
        #expect(subject.step(.voteRequest(2, last: (1, 1)), from: 3).isEmpty)
        #expect(subject.persist().to(3) == [.vote(2, granted: true)])
    }

    @Test("§5.2 a vote given while an older write is out waits for its own")
    func voteWaitsForItsOwnWrite() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        subject.step(.append(term: 2, after: (1, 1), [2]), from: 3)
        subject.tick(30)
        subject.step(.voteRequest(3, last: (9, 2)), from: 2)
        #expect(subject.persist().isEmpty)
        #expect(subject.persist().to(2) == [.vote(3, granted: true)])
    }

    @Test("§5.2 a candidate asks, and counts itself, only once its own vote is durable")
    func ownVoteIsDurableFirst() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        subject.campaign()
        #expect(subject.step(.vote(2, granted: true, isPreVote: true), from: 2).isEmpty)
        #expect(subject.core.role == .candidate)
        subject.step(.vote(2, granted: true), from: 2)
        #expect(!subject.core.isLeader)
        #expect(subject.persist().voteRequests.count == 2)
        #expect(subject.core.isLeader)
    }

    @Test("§5.2 a candidate that loses, or finds the leader of its term, keeps its vote")
    func sameTermStepDown() {
        var subject = RaftSubject()
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2)
        subject.step(.vote(2, granted: false), from: 2)
        subject.step(.vote(2, granted: false), from: 3)
        #expect(subject.core.role == .follower && subject.core.term == 2)
        #expect(subject.step(.voteRequest(2, last: (9, 1)), from: 3).to(3) == [.vote(2, granted: false)])

        subject = RaftSubject()
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2)
        subject.step(.heartbeat(2), from: 3)
        #expect(subject.core.role == .follower && subject.core.leader == Names.member(3))
        #expect(subject.vote == Names.member(1))
    }

    @Test("§5.2 a candidate ignores a leader of an earlier term")
    func candidateIgnoresOldLeader() {
        var subject = RaftSubject()
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2)
        subject.step(.append(term: 1, after: (1, 1), [1]), from: 3)
        #expect(subject.core.role == .candidate && subject.terms == [1])
    }

    @Test("§5.2 a candidate without an answer tries again in the next term")
    func electionTimesOut() {
        var subject = RaftSubject()
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2)
        subject.campaignAgain()
        #expect(subject.core.role == .preCandidate && subject.core.term == 2)
        #expect(subject.step(.vote(3, granted: true, isPreVote: true), from: 3).voteRequests.map(\.term) == [3, 3])
    }

    @Test("§5.2 a cluster of one elects itself at once, and never asks anybody")
    func clusterOfOne() {
        var subject = RaftSubject(members: 1)
        #expect(subject.tick().isEmpty)
        #expect(subject.core.isLeader && subject.core.commit == 2)
    }

    // MARK: §5.4.1 Election restriction

    @Test(
        "§5.4.1 a vote goes only to a log that is at least as up to date",
        arguments: [
            (index: 3, term: 2, granted: true), (index: 4, term: 2, granted: true), (index: 1, term: 3, granted: true),
            (index: 2, term: 2, granted: false), (index: 9, term: 1, granted: false),
            (index: 0, term: 0, granted: false),
        ] as [(index: LogIndex, term: Term, granted: Bool)])
    func upToDate(index: LogIndex, term: Term, granted: Bool) {
        for isPreVote in [true, false] {
            var subject = RaftSubject(terms: [1, 1, 2], term: 4)
            let answer = subject.step(.voteRequest(5, last: (index, term), isPreVote: isPreVote), from: 2)
            let replyTerm: Term = isPreVote && !granted ? 4 : 5
            #expect(answer.to(2) == [.vote(replyTerm, granted: granted, isPreVote: isPreVote)])
        }
    }

    @Test("§5.4.1 a request claims only a log that is durable")
    func claimedLogIsDurable() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        subject.step(.append(term: 1, after: (1, 1), [1, 1]), from: 2)
        #expect(subject.campaign().isEmpty)
        #expect(subject.persist().voteRequests.map(\.lastIndex) == [3, 3])
    }

    // MARK: Pre-vote (diss. §9.6) and check-quorum (diss. §6.2)

    @Test("diss. §9.6 a pre-vote changes neither term nor vote, here or there")
    func preVoteLeavesNoTrace() {
        var subject = RaftSubject()
        let requests = subject.campaign().voteRequests
        #expect(requests.map(\.term) == [2, 2] && requests.allSatisfy(\.isPreVote))
        #expect(subject.core.term == 1 && subject.vote == .none)
        #expect(subject.step(.voteRequest(8, last: (1, 1), isPreVote: true), from: 2).count == 1)
        #expect(subject.core.term == 1 && subject.vote == .none)
    }

    @Test("diss. §9.6 an isolated node does not raise its term")
    func isolatedNode() {
        var subject = RaftSubject()
        subject.tick(1_000)
        #expect(subject.core.term == 1)
    }

    @Test("diss. §9.6 a refused pre-vote tells the higher term, so that a longer log may be elected (etcd#8501)")
    func preVoteLowerTerm() {
        var subject = RaftSubject(term: 5)
        #expect(
            subject.step(.voteRequest(3, last: (9, 2), isPreVote: true), from: 2).to(2)
                == [.vote(5, granted: false, isPreVote: true)])
        var longer = RaftSubject(terms: [1, 2, 2], term: 2)
        longer.campaign()
        longer.step(.vote(5, granted: false, isPreVote: true), from: 2)
        #expect(longer.core.term == 5 && longer.core.role == .follower)
        #expect(longer.campaign().voteRequests.map(\.term) == [6, 6])
    }

    @Test("diss. §6.2 who hears from a leader answers no vote request", arguments: [true, false])
    func leaderStickiness(isPreVote: Bool) {
        var subject = RaftSubject()
        subject.step(.heartbeat(1), from: 2)
        subject.tick(29)
        #expect(subject.step(.voteRequest(9, last: (9, 9), isPreVote: isPreVote), from: 3).isEmpty)
        #expect(subject.core.term == 1)
        subject.step(.heartbeat(1), from: 2)
        subject.tick(30)
        let answers = subject.step(.voteRequest(9, last: (9, 9), isPreVote: isPreVote), from: 3)
        #expect(answers.contains { $0.message == .vote(9, granted: true, isPreVote: isPreVote) })
    }

    @Test("diss. §6.2 a leader ignores vote requests, and yields to a follower that has seen a higher term")
    func leaderYieldsToHigherTerm() {
        var subject = RaftSubject()
        subject.elect()
        #expect(subject.step(.voteRequest(9, last: (9, 9)), from: 3).isEmpty)
        #expect(subject.core.isLeader)
        subject.step(.heartbeatReply(HeartbeatReply(term: 9, round: 0, verified: 0)), from: 3)
        #expect(!subject.core.isLeader && subject.core.term == 9)
    }

    @Test("diss. §6.2 a leader without a majority steps down, keeps its term, and forgets that it led")
    func checkQuorum() {
        var subject = RaftSubject(members: 5)
        subject.elect(by: [2, 3])
        for _ in 0..<20 {
            subject.tick(20)
            subject.answerHeartbeat(from: 2)
            subject.answerHeartbeat(from: 3)
        }
        #expect(subject.core.isLeader)
        for _ in 0..<5 {
            subject.tick(20)
            subject.answerHeartbeat(from: 2)
        }
        #expect(!subject.core.isLeader && subject.core.term == 2 && subject.core.leader != Names.member(1))
        #expect(subject.node.timesDeposed == 1)
        #expect(subject.core.lastIndex == 2)
    }
}

extension RaftSubject {
    /// Ticks past the longest timeout, so that a candidate starts over.
    fileprivate mutating func campaignAgain() {
        while core.role == .candidate { tick() }
        #expect(core.role == .preCandidate)
    }
}
