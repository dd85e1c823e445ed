import Testing
import VikDB
import VikWire

/// Members that come and go one at a time: dissertation §4.1 to §4.4, with Ongaro's correction of 2015.
extension RaftPaperTests {
    // MARK: When

    @Test("diss. §4.1, Ongaro 2015: no change before the leader has committed an entry of its own term")
    func changeWaitsForOwnTerm() throws {
        var subject = RaftSubject(terms: [1, 1, 1, 1], commit: 4)
        subject.elect()
        #expect(subject.refusal(of: .remove(Names.member(3)))?.isBusy == true)
        #expect(subject.core.lastIndex == 5)
        subject.match(5, from: 2)
        #expect(try subject.propose(.remove(Names.member(3))) == 6)
    }

    @Test("diss. §4.1 one change at a time: the next waits until the one before is committed")
    func oneChangeAtATime() throws {
        var subject = RaftSubject.leader(of: 5)
        try subject.propose(.remove(Names.member(5)))
        for change in [
            MembershipChange.remove(Names.member(4)), .add(label: "new", address: "new:1", becomesVoter: true),
        ] {
            #expect(subject.refusal(of: change)?.isBusy == true)
        }
        // Nor is a lost disk recorded meanwhile, which is a change like any other.
        subject.identify(4, generation: 2)
        subject.tick(5)
        #expect(subject.core.lastIndex == 8)
        subject.matchAll(by: [2, 3])
        #expect(subject.core.commit == 8)
        #expect(try subject.propose(.add(label: "new", address: "new:1", becomesVoter: false)) == 9)
    }

    @Test("Only a leader changes the members")
    func followerChangesNothing() {
        var subject = RaftSubject()
        #expect(subject.refusal(of: .remove(Names.member(3))) == .notLeader)
    }

    // MARK: What counts

    @Test("diss. §4.1 a configuration counts from the moment at which it stands in the log: fewer make a majority")
    func removalCountsAtOnce() throws {
        var subject = RaftSubject.leader(of: 5)
        try subject.propose(.remove(Names.member(5)))
        try #require(subject.core.configuration?.voterCount == 4)
        // Three of four: the removed one's acknowledgement is none of them.
        subject.match(8, from: 5)
        subject.match(8, from: 2)
        #expect(subject.core.commit == 7)
        subject.match(8, from: 3)
        #expect(subject.core.commit == 8)

        var four = RaftSubject.leader(of: 4)
        try four.propose(.remove(Names.member(4)))
        // Two of three, where of four it would have taken three.
        four.match(7, from: 2)
        #expect(four.core.commit == 7)
    }

    @Test("diss. §4.1 a configuration counts from the moment at which it stands in the log: more make a majority")
    func promotionCountsAtOnce() throws {
        var subject = try RaftSubject.leaderWithLearner()
        subject.match(7, from: 6)
        #expect(try subject.propose(.promote(Names.member(6))) == 8)
        subject.match(8, from: 2)
        #expect(subject.core.commit == 7)
        subject.match(8, from: 6)
        #expect(subject.core.commit == 8)
    }

    @Test("diss. §4.1 a follower too goes by the newest configuration in its log, committed or not")
    func followerUsesNewest() {
        var subject = RaftSubject()
        let without3 = Names.configuration(3).removing(Names.member(3))
        subject.append([without3], term: 1, after: (1, 1), commit: 1, from: 2)
        #expect(subject.core.configuration == without3 && subject.core.commit == 1)
        #expect(subject.campaign().voteRequests.count == 1)
        subject.step(.vote(2, granted: true, isPreVote: true), from: 3)
        #expect(subject.core.role == .preCandidate)
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2)
        #expect(subject.core.role == .candidate)
    }

    @Test("diss. §4.1 configurations roll back with the log, two at once and across a restart (canonical/raft#250)")
    func rollback() {
        let old = Names.configuration(3)
        let without3 = old.removing(Names.member(3))
        var subject = RaftSubject()
        subject.append(
            [without3, without3.changing(Names.member(2)) { $0.address = "moved:1" }], term: 1, after: (1, 1),
            commit: 1, from: 2)
        subject.restart()
        #expect(subject.core.configuration?.member(Names.member(2))?.address == "moved:1")
        #expect(subject.core.configuration?.members.count == 2)
        subject.step(.append(term: 2, after: (1, 1), [2, 2]), from: 3)
        #expect(subject.core.configuration == old)
        subject.restart()
        #expect(subject.core.configuration == old && subject.terms == [1, 2, 2])
        // Of three again, one other vote is enough; all are asked.
        #expect(subject.campaign().voteRequests.count == 2)
        subject.step(.vote(3, granted: true, isPreVote: true), from: 3)
        #expect(subject.core.role == .candidate)
    }

    @Test("diss. §4.1 of two configurations the committed one stands when the other is rolled back")
    func rollbackToCommitted() {
        let without3 = Names.configuration(3).removing(Names.member(3))
        var subject = RaftSubject()
        subject.append(
            [without3, without3.changing(Names.member(2)) { $0.address = "moved:1" }], term: 1, after: (1, 1),
            commit: 2, from: 2)
        #expect(subject.core.commit == 2)
        subject.restart()
        subject.step(.append(term: 2, after: (2, 1), [2]), from: 2)
        #expect(subject.core.configuration == without3)
    }

    // MARK: Learners

    @Test("diss. §4.2.1 a learner has the log, and counts for nothing")
    func learnerDoesNotCount() throws {
        var subject = try RaftSubject.leaderWithLearner()
        subject.match(7, from: 6)
        #expect(subject.propose().to(6).compactMap(\.asAppend).map(\.entries.count) == [1])
        subject.match(8, from: 6)
        #expect(subject.core.commit == 7)
        let read = subject.read()
        subject.answerHeartbeat(round: 1, from: 6)
        #expect(subject.confirmedReads().isEmpty)
        subject.answerHeartbeat(round: 1, from: 2)
        #expect(subject.confirmedReads() == [read.context])
        // Its answers keep no leader in office.
        subject.tick(61, answeredBy: [6])
        #expect(!subject.core.isLeader)
        // Nobody asks for its vote, and it counts for nothing.
        #expect(Set(subject.campaign().filter { $0.message.asVoteRequest != nil }.map(\.to.rawValue)) == [2, 3])
        subject.step(.vote(3, granted: true, isPreVote: true), from: 6)
        #expect(subject.core.role == .preCandidate)
    }

    @Test("diss. §4.2.1 a learner does not stand for election, nor is a plain one promoted by itself")
    func learnerDoesNotStand() throws {
        let configuration = Names.configuration(3).changing(Names.member(1)) { $0.role = .learner }
        var subject = RaftSubject(
            disk: SimulatedDisk(
                store: Names.store(1), hardState: HardState(term: 1), terms: [1], configuration: configuration))
        subject.identifyAll()
        subject.step(.heartbeat(1), from: 2)
        #expect(subject.step(.timeoutNow(1), from: 2).isEmpty)
        #expect(subject.tick(300).isEmpty && subject.core.role == .follower && subject.core.term == 1)

        var leader = try RaftSubject.leaderWithLearner()
        leader.match(7, from: 6)
        leader.tick(20, answeredBy: [2, 3, 6])
        #expect(leader.core.lastIndex == 7)
    }

    @Test("diss. §4.2.1 who is to vote becomes a voter once it lacks little of the log, not before")
    func promotionOnceCaughtUp() throws {
        var options = RaftOptions()
        options.maxPromotionLag = 2
        var subject = try RaftSubject.leaderWithLearner(becomesVoter: true, options: options)
        subject.propose(5)
        subject.matchAll(by: [2, 3])
        try #require(subject.core.commit == 12)
        // It does not answer for longer than an election timeout, then it lacks five, then three.
        subject.tick(40, answeredBy: [2, 3])
        #expect(subject.refusal(of: .promote(Names.member(6)))?.isBusy == true)
        for match in [7, 9] as [LogIndex] {
            subject.match(match, from: 6)
            subject.tick(10, answeredBy: [2, 3, 6])
            #expect(subject.core.lastIndex == 12)
            #expect(subject.refusal(of: .promote(Names.member(6)))?.isBusy == true)
        }
        subject.match(10, from: 6)
        subject.tick(5)
        #expect(subject.core.lastIndex == 13)
        #expect(subject.core.configuration?.member(Names.member(6))?.role == .voter)
        #expect(subject.refusal(of: .promote(Names.member(6)))?.isBusy == true)
        subject.matchAll(by: [2, 3, 6])
        #expect(subject.refusal(of: .promote(Names.member(6)))?.isImpossible == true)
    }

    @Test("A learner that has not shown a store, or does not hold the entry with it, is not promoted")
    func promotionNeedsStore() throws {
        var subject = RaftSubject.leader()
        #expect(try subject.propose(.add(label: "new", address: "new:1", becomesVoter: true)) == 6)
        subject.matchAll(by: [2, 3])
        // It is named after its entry, and nobody knows its store.
        #expect(subject.core.configuration?.member(Names.member(6))?.store == .zero)
        #expect(subject.refusal(of: .promote(Names.member(6)))?.isBusy == true)
        subject.identify(6)
        subject.match(6, from: 6)
        #expect(subject.refusal(of: .promote(Names.member(6)))?.isBusy == true)
        subject.tick(5)
        #expect(subject.core.configuration?.member(Names.member(6))?.store == Names.store(6))
        subject.matchAll(by: [2, 3])
        // Recorded by the others, but not yet in its own log.
        subject.tick(10, answeredBy: [2, 3, 6])
        #expect(subject.core.lastIndex == 7)
        #expect(subject.refusal(of: .promote(Names.member(6)))?.isBusy == true)
        subject.match(7, from: 6)
        subject.tick(5)
        #expect(subject.core.configuration?.member(Names.member(6))?.role == .voter)
    }

    // MARK: Removal

    @Test("diss. §4.2.2 a leader that removes itself leads until that is committed, without counting itself")
    func removedLeader() throws {
        var subject = RaftSubject.leader()
        try subject.propose(.remove(Names.member(1)))
        subject.tick(100, answeredBy: [2, 3])
        #expect(subject.core.isLeader)
        // Two of two, neither of them this one.
        subject.propose()
        subject.match(7, from: 2)
        #expect(subject.core.isLeader && subject.core.commit == 5)
        let sent = subject.match(6, from: 3)
        #expect(subject.core.commit == 6 && !subject.core.isLeader && subject.node.timesDeposed == 1)
        // Nobody has to wait for a timeout: the one with most of the log stands at once.
        #expect(sent.timeoutNows == [2])
    }

    @Test("diss. §4.2.2 who was removed does not stand again, nor vote, after a restart neither (logcabin#205)")
    func removedLeaderDoesNotStand() throws {
        var subject = RaftSubject.leader()
        try subject.propose(.remove(Names.member(1)))
        subject.matchAll(by: [2, 3])
        for _ in 0..<2 {
            #expect(subject.core.isRemoved && !subject.core.mayVote)
            subject.step(.heartbeat(3), from: 2)
            #expect(subject.step(.timeoutNow(3), from: 2).isEmpty)
            #expect(subject.tick(300).isEmpty)
            #expect(subject.core.role == .follower && subject.core.term == 3)
            subject.restart()
        }
    }

    @Test("diss. §4.2.2 who is being removed still votes, and stands, but its own vote does not count")
    func voteOfOneBeingRemoved() {
        var subject = RaftSubject()
        subject.append(
            [Names.configuration(3).removing(Names.member(1))], term: 1, after: (1, 1), commit: 1, from: 2)
        var voter = subject
        voter.tick(60)
        #expect(
            voter.step(.voteRequest(2, last: (2, 1)), from: 3).to(3) == [.vote(2, granted: true)])
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2)
        #expect(subject.core.role == .preCandidate)
        subject.step(.vote(2, granted: true, isPreVote: true), from: 3)
        for peer in [2, 3] { subject.step(.vote(2, granted: true), from: peer) }
        #expect(subject.core.isLeader)
    }

    @Test("diss. §4.2.3 who was removed is heard no more, so that it disturbs nobody")
    func removedMemberIsIgnored() throws {
        var subject = RaftSubject(terms: [1, 1, 1])
        subject.append(
            [Names.configuration(3).removing(Names.member(3))], term: 1, after: (3, 1), commit: 4, from: 2)
        subject.tick(60)
        for isPreVote in [true, false] {
            #expect(subject.step(.voteRequest(9, last: (9, 9), isPreVote: isPreVote), from: 3).to(3).isEmpty)
        }
        #expect(subject.core.term == 1)
    }

    @Test("A removed member is sent the log until it can know of it; then it is a stranger")
    func departure() throws {
        var subject = RaftSubject.leader()
        let sent = subject.input { _ = try? $0.propose(.remove(Names.member(3))) }
        #expect(sent.to(3).compactMap(\.asAppend).map(\.entries.count) == [1])
        #expect(subject.tick(200, answeredBy: [2, 3]).to(3).contains { $0.asHeartbeat != nil }, "not committed yet")
        subject.match(6, from: 3)
        subject.match(6, from: 2)
        let told = subject.tick(120, answeredBy: [2, 3])
        #expect(told.to(3).contains { $0.asHeartbeat?.commit == 6 })
        #expect(subject.core.peers.map(\.id) == [Names.member(2), Names.member(3)])
        subject.tick(1)
        #expect(subject.core.peers.map(\.id) == [Names.member(2)])
        #expect(subject.tick(20, answeredBy: [2]).to(3).isEmpty)
    }

    // MARK: Refusals

    @Test("A change after which those that answer are no majority is refused: it would stop the cluster")
    func changeThatLosesTheMajority() throws {
        var subject = RaftSubject.leader()
        subject.tick(60, answeredBy: [2])
        #expect(subject.refusal(of: .remove(Names.member(2)))?.isImpossible == true)
        // Nor can this one leave the two others alone.
        #expect(subject.refusal(of: .remove(Names.member(1)))?.isImpossible == true)
        #expect(subject.core.lastIndex == 5)
        subject.answerHeartbeat(from: 3)
        #expect(try subject.propose(.remove(Names.member(2))) == 6)
    }

    @Test("A member whose disk was lost is none of those that answer")
    func lostDiskDoesNotAnswer() throws {
        var subject = RaftSubject.leader()
        subject.identify(3, generation: 2)
        subject.match(5, from: 3, generation: 2)
        #expect(subject.refusal(of: .remove(Names.member(2)))?.isImpossible == true)
        #expect(try subject.propose(.remove(Names.member(3))) == 6)
    }

    @Test("Changes that contradict the members as they are")
    func impossibleChanges() throws {
        var subject = try RaftSubject.leaderWithLearner()
        let impossible: [MembershipChange] = [
            .add(label: "new", address: "other:1", becomesVoter: true),
            .add(label: "other", address: "new:1", becomesVoter: true),
            .promote(Names.member(2)), .promote(Names.member(9)), .remove(Names.member(9)),
            .move(Names.member(9), address: "other:1"), .move(Names.member(6), address: "new:1"),
            .move(Names.member(6), address: "node2:7000"),
            // Other spellings of addresses that are taken.
            .add(label: "other", address: "NEW.:1", becomesVoter: true), .move(Names.member(6), address: "New:1"),
            .move(Names.member(6), address: "NODE2.:7000"),
        ]
        for change in impossible {
            #expect(subject.refusal(of: change)?.isImpossible == true, "\(change)")
        }
        #expect(try subject.propose(.move(Names.member(6), address: "other:1")) == 8)

        var last = RaftSubject(members: 1)
        last.tick(60)
        try #require(last.core.isLeader && last.core.commit == 2)
        #expect(last.refusal(of: .remove(Names.member(1)))?.isImpossible == true)
        for index in 2...WireLimits.maxMembers {
            try last.propose(.add(label: "node\(index)", address: "node\(index):1", becomesVoter: false))
        }
        #expect(
            last.refusal(of: .add(label: "more", address: "more:1", becomesVoter: false))?.isImpossible == true)
    }
}

extension RaftSubject {
    /// A leader of three whose log ends with entry 7, and a fourth member, 6, which does not vote and has been sent
    /// everything, but has acknowledged nothing.
    static func leaderWithLearner(
        becomesVoter: Bool = false, options: RaftOptions = RaftOptions()
    ) throws -> RaftSubject {
        var subject = RaftSubject.leader(options: options)
        try subject.propose(.add(label: "new", address: "new:1", becomesVoter: becomesVoter))
        subject.matchAll(by: [2, 3])
        subject.identify(6)
        // Its store is recorded.
        subject.tick(5)
        subject.matchAll(by: [2, 3])
        try #require(subject.core.commit == 7)
        return subject
    }

    /// Why a change is not proposed; nil: it was.
    fileprivate mutating func refusal(of change: MembershipChange) -> MembershipRefusal? {
        do throws(MembershipRefusal) {
            try propose(change)
            return nil
        } catch {
            return error
        }
    }
}

extension MembershipRefusal {
    fileprivate var isBusy: Bool { if case .busy = self { true } else { false } }
    fileprivate var isImpossible: Bool { if case .impossible = self { true } else { false } }
}
