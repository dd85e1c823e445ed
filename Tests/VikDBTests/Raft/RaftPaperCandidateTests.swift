import Testing
import VikDB
import VikWire

/// Who may stand for election, and who may be voted for, while logs differ about the members (dissertation §4.1).
extension RaftPaperTests {
    private static let others = [1, 3].map { number in
        Member(id: Names.member(number), store: Names.store(number), address: "node\(number):7000", label: "")
    }

    /// Members 1, 3 and 5, as the log of a candidate has them that was added later.
    private static let later = Configuration(
        incarnation: Names.configuration(3).incarnation,
        members: others + [Member(id: Names.member(5), store: Names.store(5), address: "node5:7000", label: "")])

    @Test("diss. §4.1 a voter gives its vote to a candidate that its own log does not name yet")
    func unnamedCandidate() {
        for commit in [0, 1] as [LogIndex] {
            var subject = RaftSubject(terms: [1, 1, 1], commit: commit)
            subject.identify(5)
            subject.tick(60)
            let term = subject.core.term
            for isPreVote in [true, false] {
                let sent = subject.step(.voteRequest(term + 1, last: (5, 1), isPreVote: isPreVote), from: 5)
                #expect(sent.to(5) == [.vote(term + 1, granted: true, isPreVote: isPreVote)])
            }
        }
    }

    @Test("diss. §4.1 a voter judges a candidate that only an entry names which may not be committed")
    func pendingCandidate() {
        var subject = RaftSubject(terms: [1, 1, 1, 1])
        subject.identify(5)
        subject.append([Self.later], term: 1, after: (4, 1), from: 2)
        subject.tick(60)
        #expect(subject.step(.voteRequest(2, last: (5, 1)), from: 5).to(5) == [.vote(2, granted: true)])
    }

    @Test("A voter judges a candidate with another store than its log records by its log alone")
    func candidateWithAnotherStore() {
        var subject = RaftSubject(terms: [1, 1])
        subject.identify(2, generation: 2)
        subject.tick(60)
        let short = subject.step(.voteRequest(2, last: (1, 1)), from: 2, generation: 2)
        #expect(short.to(2) == [.vote(2, granted: false)])
        let long = subject.step(.voteRequest(3, last: (3, 1)), from: 2, generation: 2)
        #expect(long.to(2) == [.vote(3, granted: true)])
    }

    @Test("A store stands only once the entry that records it is known to be committed; before, it votes")
    func unrecordedStoreDoesNotStand() {
        let recorded = Names.configuration(3).changing(Names.member(1)) { $0.store = Names.store(1, generation: 2) }
        var subject = RaftSubject(disk: SimulatedDisk(store: Names.store(1, generation: 2)))
        subject.identifyAll()
        subject.append([Names.configuration(3), recorded], term: 1, after: (0, 0), commit: 1, from: 2)
        #expect(subject.core.mayVote && subject.core.lastIndex == 2)
        #expect(subject.tick(300).voteRequests.isEmpty && subject.core.role == .follower)
        subject.step(.heartbeat(1), from: 2)
        #expect(subject.step(.timeoutNow(1), from: 2).isEmpty)
        var voter = subject
        voter.tick(60)
        #expect(voter.step(.voteRequest(2, last: (2, 1)), from: 3).to(3) == [.vote(2, granted: true)])

        subject.step(.append(term: 1, after: (2, 1), commit: 2), from: 2)
        #expect(!subject.campaign().voteRequests.isEmpty)
    }

    @Test("A configuration is known to be committed by the next one in the log, also after the commit index was lost")
    func followedConfigurationIsCommitted() {
        let recorded = Names.configuration(3).changing(Names.member(1)) { $0.store = Names.store(1, generation: 2) }
        let moved = recorded.changing(Names.member(3)) { $0.address = "elsewhere:7000" }
        var subject = RaftSubject(disk: SimulatedDisk(store: Names.store(1, generation: 2)))
        subject.identifyAll()
        subject.append([Names.configuration(3), recorded, moved], term: 1, after: (0, 0), from: 2)
        #expect(subject.core.commit == 0 && subject.core.incarnation == recorded.incarnation)
        subject.restart()
        #expect(subject.core.commit == 0)
        #expect(!subject.campaign().voteRequests.isEmpty)
    }

    @Test("Who was added may be new to a log whose own later configuration is not committed, or whose first one is not")
    func newMemberAndUncommittedConfigurations() {
        // A deposed leader that had appended a change of its own.
        var deposed = RaftSubject(terms: [1, 1, 1, 1, 1, 1], commit: 6)
        deposed.append([Names.configuration(3).removing(Names.member(3))], term: 1, after: (6, 1), from: 2)
        #expect(deposed.core.commit == 6 && deposed.core.mayBeNew(Names.member(7)))
        deposed.step(.append(term: 1, after: (7, 1), commit: 7), from: 2)
        #expect(!deposed.core.mayBeNew(Names.member(7)) && deposed.core.mayBeNew(Names.member(8)))

        let fresh = RaftSubject()
        #expect(fresh.core.incarnation == .zero && fresh.core.mayBeNew(Names.member(7)))
        #expect(fresh.core.presumedIncarnation == Names.configuration(3).incarnation)
    }

    // MARK: What waits for a count

    @Test("A read round in flight is confirmed at once when a removal makes the confirmations that came a majority")
    func readRoundAndRemoval() throws {
        for members in [2, 4] {
            var subject = RaftSubject.leader(of: members)
            let read = subject.read()
            // One confirmation of the two that four members need, none of the one that two need.
            if members == 4 { subject.answerHeartbeat(round: 1, from: 2) }
            #expect(subject.confirmedReads().isEmpty)
            try subject.propose(.remove(Names.member(members)))
            #expect(subject.confirmedReads() == [read.context], "\(members) members")
            let next = subject.read()
            if members == 4 { subject.answerHeartbeat(round: 2, from: 3) }
            #expect(subject.confirmedReads() == [next.context])
        }
    }

    @Test("The commitment of a new store lets what it has already acknowledged count, without another message")
    func commitAfterRecordedStore() throws {
        var subject = RaftSubject.leader()
        subject.identify(2, generation: 2)
        subject.tick(5)
        let record = subject.core.lastIndex
        #expect(subject.node.disk.entry(at: record)?.kind == .configuration)
        subject.propose()
        // It has everything, but counts only once its record is committed by the others.
        subject.match(record + 1, from: 2, generation: 2)
        #expect(subject.core.commit == record - 1)
        subject.match(record, from: 3)
        #expect(subject.core.commit == record + 1)
    }

    @Test("A transfer to a member that is removed ends, and proposals are taken again")
    func transferToRemovedMember() throws {
        var subject = RaftSubject.leader(of: 4)
        try subject.propose(.remove(Names.member(4)))
        subject.matchAll(by: [2, 3])
        let isBegunToRemoved = subject.handOver(to: 4)
        subject.identify(2, generation: 2)
        let isBegunToUnrecorded = subject.handOver(to: 2)
        subject.identify(2)
        subject.answerHeartbeat(from: 2)
        let isBegun = subject.handOver(to: 2)
        #expect(!isBegunToRemoved && !isBegunToUnrecorded && isBegun)
        subject.identify(2, generation: 3)
        #expect(!subject.core.isHandingOver)
        subject.propose()
    }

    // MARK: Connections that carry entries

    @Test("A leader that a majority hears but that can send entries to none steps down, and does not stand again")
    func appendsCutOff() {
        var subject = RaftSubject.leader()
        for peer in [2, 3] { subject.input { $0.setAppends(to: Names.member(peer), areCutOff: true) } }
        subject.tick(90, answeredBy: [2, 3])
        #expect(!subject.core.isLeader)
        #expect(subject.tick(200).voteRequests.isEmpty && subject.core.role == .follower)
        subject.input { $0.setAppends(to: Names.member(3), areCutOff: false) }
        #expect(!subject.campaign().voteRequests.isEmpty)
    }

    @Test("A leader goes on while entries reach a majority, and through a connection that is made again at once")
    func appendsCutOffFromFew() {
        var subject = RaftSubject.leader()
        subject.input { $0.setAppends(to: Names.member(2), areCutOff: true) }
        subject.tick(200, answeredBy: [2, 3])
        #expect(subject.core.isLeader)
        for _ in 0..<20 {
            subject.input { $0.setAppends(to: Names.member(3), areCutOff: true) }
            subject.tick(10, answeredBy: [2, 3])
            subject.input { $0.setAppends(to: Names.member(3), areCutOff: false) }
            subject.tick(1, answeredBy: [2, 3])
        }
        #expect(subject.core.isLeader)
    }

    // MARK: Bounds

    @Test("Behind a write that stalls, answers to heartbeats and requests for votes do not pile up")
    func deferredMessagesAreFew() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        for _ in 0..<1_000 { subject.step(.heartbeat(2), from: 2) }
        var sent: [Outgoing] = []
        for _ in 0..<4 where subject.node.pending != nil { sent += subject.persist() }
        #expect(sent.to(2).count { if case .heartbeatReply = $0 { true } else { false } } == 1)
    }

    @Test("diss. §4.2.1 a learner that keeps up with a delay becomes a voter, however many entries it lacks")
    func promotionOverALongDelay() throws {
        var options = RaftOptions()
        options.maxPromotionLag = 2
        var subject = try RaftSubject.leaderWithLearner(becomesVoter: true, options: options)
        // It lacks a hundred entries at all times, which are twenty ticks old at most.
        var acknowledged = subject.core.lastIndex
        for _ in 0..<10 where subject.core.configuration?.member(Names.member(6))?.role != .voter {
            subject.propose(100)
            subject.matchAll(by: [2, 3])
            subject.match(acknowledged, from: 6)
            acknowledged = subject.core.lastIndex
            subject.tick(20, answeredBy: [2, 3, 6])
        }
        #expect(subject.core.configuration?.member(Names.member(6))?.role == .voter)
    }
}
