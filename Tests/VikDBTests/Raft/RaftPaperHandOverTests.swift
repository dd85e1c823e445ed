import NIOCore
import Testing
import VikDB
import VikWire

/// The office that is handed over, on request (dissertation §3.10) or because the leader's own disk fails it.
extension RaftPaperTests {
    // MARK: The leader

    @Test("diss. §3.10 the office goes to a voter that answers, and to nobody else")
    func handOverTarget() throws {
        var subject = RaftSubject.leader()
        try subject.propose(.add(label: "new", address: "new:1", becomesVoter: false))
        subject.matchAll(by: [2, 3])
        subject.identify(6)
        subject.tick(60, answeredBy: [2, 6])
        subject.matchAll(by: [2, 3])
        subject.tick(60, answeredBy: [2, 6])
        subject.matchAll(by: [6])
        for target in [1, 3, 6, 9] { #expect(subject.handOver(to: target) == false, "\(target)") }
        #expect(!subject.core.isHandingOver)
        #expect(subject.handOver(to: 2) && subject.core.isHandingOver)
        #expect(subject.handOver(to: 2) == false, "it is handed over already")

        var follower = RaftSubject()
        #expect(follower.handOver(to: 2) == false)
    }

    @Test("diss. §3.10 to nobody in particular: to the voter with most of the log")
    func handOverToTheBest() {
        var subject = RaftSubject.leader(of: 5)
        subject.propose(2)
        for (peer, match) in [(2, 8), (3, 7), (4, 9), (5, 8)] as [(Int, LogIndex)] { subject.match(match, from: peer) }
        #expect(subject.core.commit == 8)
        #expect(subject.handOver() == true)
        #expect(subject.match(9, from: 3).timeoutNows == [4])
    }

    @Test("diss. §3.10 the target is told only once it has the whole log, and all of it is committed; and once")
    func handOverWaitsForTheLog() {
        var subject = RaftSubject.leader(of: 5)
        subject.propose()
        #expect(subject.handOver(to: 2) == true)
        #expect([3, 4].flatMap { subject.match(8, from: $0) }.timeoutNows.isEmpty && subject.core.commit == 8)
        #expect(subject.match(8, from: 2).timeoutNows == [2])
        #expect(subject.tick(29, answeredBy: [2, 3, 4, 5]).timeoutNows.isEmpty)

        var uncommitted = RaftSubject.leader(of: 5)
        uncommitted.propose()
        #expect(uncommitted.handOver(to: 2) == true)
        #expect(uncommitted.match(8, from: 2).timeoutNows.isEmpty && uncommitted.core.commit == 7)
        #expect(uncommitted.match(8, from: 3).timeoutNows == [2])
    }

    @Test("diss. §3.10 no proposal is taken meanwhile; after the shortest election timeout the leader goes on")
    func handOverIsGivenUp() {
        for isTold in [false, true] {
            var subject = RaftSubject.leader()
            subject.propose()
            subject.match(6, from: 3)
            if isTold { subject.match(6, from: 2) }
            #expect(subject.handOver(to: 2) == true)
            for _ in 0..<30 {
                #expect(subject.core.isHandingOver)
                subject.input { core in #expect(core.propose([ByteBuffer(string: "x")]) == nil) }
                subject.tick(1, answeredBy: [2, 3])
            }
            #expect(!subject.core.isHandingOver && subject.core.isLeader && subject.core.lastIndex == 6)
            subject.propose()
            #expect(subject.matchAll(by: [2, 3]).timeoutNows.isEmpty)
            #expect(subject.core.commit == 7)
            #expect(subject.handOver(to: 2) == true, "and may try again")
        }
    }

    @Test("diss. §3.10 a leader yields to the one that it has told to stand, and to that alone")
    func leaderYieldsToTarget() {
        var subject = RaftSubject.leader()
        #expect(subject.handOver(to: 2) == true)
        #expect(subject.step(.voteRequest(3, last: (5, 2)), from: 3).isEmpty && subject.core.isLeader)
        let request = VoteRequest(term: 3, isPreVote: false, isHandOver: true, lastIndex: 5, lastTerm: 2)
        #expect(subject.step(.voteRequest(request), from: 2).to(2) == [.vote(3, granted: true)])
        #expect(!subject.core.isLeader && subject.node.timesDeposed == 1)
    }

    @Test("Hand-over and a change of the members exclude each other")
    func handOverAndChange() throws {
        var subject = RaftSubject.leader()
        #expect(subject.handOver(to: 2) == true)
        #expect(throws: MembershipRefusal.self) { try subject.propose(.remove(Names.member(3))) }
        // Nor is a lost disk recorded, nor a learner promoted.
        subject.identify(3, generation: 2)
        subject.tick(29, answeredBy: [2])
        #expect(subject.core.isHandingOver && subject.core.lastIndex == 5)
        subject.tick(6, answeredBy: [2])
        #expect(subject.core.lastIndex == 6)

        // The change came first: nobody is told to stand before it is committed, nor one that it removes.
        var changing = RaftSubject.leader()
        try changing.propose(.remove(Names.member(3)))
        #expect(changing.handOver(to: 3) == false)
        #expect(changing.handOver(to: 2) == true)
        #expect(changing.tick(5, answeredBy: [2, 3]).timeoutNows.isEmpty)
        #expect(changing.match(6, from: 2).timeoutNows == [2])
    }

    // MARK: The target

    @Test("diss. §3.10 who is told stands at once, without asking first, and says why")
    func timeoutNow() {
        var subject = RaftSubject()
        subject.step(.heartbeat(1), from: 2)
        let requests = subject.step(.timeoutNow(1), from: 2).voteRequests
        #expect(requests.count == 2 && requests.allSatisfy { !$0.isPreVote && $0.isHandOver && $0.term == 2 })
        #expect(subject.core.role == .candidate && subject.vote == Names.member(1))
        // Who hears a leader grants it all the same.
        var voter = RaftSubject()
        voter.step(.heartbeat(1), from: 2)
        #expect(voter.step(.voteRequest(2, last: (1, 1)), from: 3).isEmpty)
        let request = VoteRequest(term: 2, isPreVote: false, isHandOver: true, lastIndex: 1, lastTerm: 1)
        #expect(voter.step(.voteRequest(request), from: 3).to(3) == [.vote(2, granted: true)])
    }

    @Test("diss. §3.10 only the leader of the current term says so, and only a follower listens")
    func timeoutNowOfOthers() {
        var subject = RaftSubject(term: 3)
        subject.step(.heartbeat(3), from: 2)
        for term in [2, 1] as [Term] { #expect(subject.step(.timeoutNow(term), from: 2).isEmpty) }
        #expect(subject.refusal(of: .timeoutNow(3), from: 3) == .secondLeader(term: 3, leader: Names.member(2)))
        #expect(subject.core.role == .follower && subject.core.term == 3)
        // Of a term that nobody has led here yet: it is followed, and no more.
        #expect(subject.step(.timeoutNow(4), from: 3).isEmpty)
        #expect(subject.core.role == .follower && subject.core.term == 4)

        var leader = RaftSubject.leader()
        #expect(leader.refusal(of: .timeoutNow(2), from: 2) == .secondLeader(term: 2, leader: Names.member(1)))
        #expect(leader.core.isLeader && leader.core.term == 2)
    }

    // MARK: A disk that fails its leader

    @Test("A leader whose write is out for the longest election timeout resigns, and does not stand itself")
    func stalledDisk() {
        var subject = RaftSubject.leader()
        subject.holdsDisk = true
        subject.propose()
        subject.match(6, from: 3)
        #expect(subject.tick(59, answeredBy: [2, 3]).timeoutNows.isEmpty && subject.core.isLeader)
        // The one that has the entry is told.
        #expect(subject.tick(1, answeredBy: [2, 3]).timeoutNows == [3])
        #expect(!subject.core.isLeader && subject.node.timesDeposed == 1 && subject.core.isDiskStalled)
        #expect(subject.tick(500).isEmpty && subject.core.role == .follower && subject.core.term == 2)
        #expect(subject.step(.voteRequest(3, last: (6, 2)), from: 3).isEmpty, "no vote that is not durable")
        #expect(subject.persist().isEmpty)
        #expect(subject.persist().to(3) == [.vote(3, granted: true)])
        subject.holdsDisk = false
        #expect(subject.campaign().voteRequests.count == 2, "its disk is back")
    }

    @Test("A leader with a stalled disk stays if nobody's disk has more")
    func stalledDiskOfAll() {
        var subject = RaftSubject.leader()
        subject.holdsDisk = true
        subject.propose()
        subject.tick(200, answeredBy: [2, 3])
        #expect(subject.core.isLeader)
        // It goes as soon as somebody's has.
        subject.match(6, from: 3)
        #expect(subject.tick(1, answeredBy: [2]).timeoutNows == [3])
    }

    @Test(
        "A leader whose log finds no room for the longest election timeout resigns; meanwhile it acknowledges nothing")
    func fullDiskOfLeader() {
        var subject = RaftSubject.leader()
        subject.holdsDisk = true
        subject.propose()
        subject.refuseWrite()
        #expect(subject.core.isLogFull && subject.node.pending == nil)
        subject.match(6, from: 3)
        #expect(subject.core.commit == 5, "this node's disk does not count")
        subject.match(6, from: 2)
        #expect(subject.core.commit == 6 && subject.core.applicable == 5)
        #expect(subject.tick(59, answeredBy: [2, 3]).timeoutNows.isEmpty && subject.core.isLeader)
        #expect(subject.tick(1, answeredBy: [2, 3]).timeoutNows == [2])
        #expect(subject.tick(500).isEmpty && subject.core.role == .follower)
        // With room it is as any other again, and keeps what it had.
        subject.input { $0.logHasRoom() }
        subject.persist()
        #expect(subject.core.applicable == 6 && subject.core.lastIndex == 6)
        subject.holdsDisk = false
        subject.campaign()
    }

    @Test("A follower whose log finds no room takes no entries, acknowledges none, and votes")
    func fullDiskOfFollower() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        subject.step(.append(term: 1, after: (1, 1), [1]), from: 2)
        #expect(subject.refuseWrite().isEmpty)
        #expect(subject.step(.append(term: 1, after: (2, 1), [1]), from: 2).isEmpty && subject.core.lastIndex == 2)
        #expect(subject.step(.heartbeat(1), from: 2).to(2).count == 1)
        #expect(subject.step(.timeoutNow(1), from: 2).isEmpty)
        #expect(subject.tick(300).isEmpty && subject.core.role == .follower, "it does not stand")
        subject.step(.voteRequest(2, last: (2, 1)), from: 3)
        #expect(subject.persist().to(3) == [.vote(2, granted: true)])
        #expect(subject.node.disk.lastIndex == 1)
        subject.holdsDisk = false
        subject.step(.append(term: 2, after: (2, 1), [2]), from: 3)
        #expect(subject.core.lastIndex == 2)
        subject.input { $0.logHasRoom() }
        #expect(subject.step(.append(term: 2, after: (2, 1), [2]), from: 3).to(3) == [.matched(3, term: 2)])
    }

    /// Why a member may not stand for election.
    enum Hindrance: CaseIterable {
        case isLearner, isLogFull, isInstalling
    }

    @Test(
        "Who may not stand for election votes all the same, whenever it has heard no leader",
        arguments: Hindrance.allCases)
    func voteOfOneThatMayNotStand(hindrance: Hindrance) {
        let role = hindrance == .isLearner ? MemberRole.learner : .voter
        var subject = RaftSubject(
            disk: SimulatedDisk(
                store: Names.store(1), hardState: HardState(term: 1), terms: [1],
                configuration: Names.configuration(3).changing(Names.member(1)) { $0.role = role }))
        subject.identifyAll()
        subject.step(.heartbeat(1), from: 2)
        switch hindrance {
        case .isLearner: break
        case .isInstalling: subject.input { $0.beginInstalling() }
        case .isLogFull:
            subject.holdsDisk = true
            subject.step(.append(term: 1, after: (1, 1), [1]), from: 2)
            subject.refuseWrite()
            subject.holdsDisk = false
        }
        #expect(subject.step(.voteRequest(2, last: (2, 1), isPreVote: true), from: 3).isEmpty)
        subject.tick(60)
        let refused = (60..<200).filter { _ in
            let answers = subject.step(.voteRequest(2, last: (2, 1), isPreVote: true), from: 3)
            #expect(subject.tick().isEmpty && subject.core.role == .follower)
            return answers.to(3) != [.vote(2, granted: true, isPreVote: true)]
        }
        #expect(refused == [], "after so many ticks without a leader")
    }

    @Test("A vote is not asked for with a log that found no room")
    func fullDiskOfCandidate() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        // An entry that is being written, and another that waits: the candidate's claim is written with the second.
        subject.step(.append(term: 1, after: (1, 1), [1]), from: 2)
        subject.step(.append(term: 1, after: (2, 1), [1]), from: 2)
        #expect(subject.step(.timeoutNow(1), from: 2).isEmpty && subject.core.role == .candidate)
        #expect(subject.persist().isEmpty)
        #expect(subject.refuseWrite().isEmpty)
        #expect(subject.core.role == .follower && subject.core.term == 2 && subject.vote == Names.member(1))
        #expect(subject.node.disk.hardState.vote == Names.member(1) && subject.node.disk.lastIndex == 2)
        subject.input { $0.logHasRoom() }
        #expect(subject.persist().voteRequests.isEmpty)
        subject.holdsDisk = false
        #expect(subject.campaign().voteRequests.allSatisfy { $0.lastIndex == 3 })
    }
}
