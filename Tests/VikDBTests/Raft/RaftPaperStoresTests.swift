import NIOCore
import Testing
import VikDB
import VikWire

/// A member that shows another store than the one on record, and a store that is not what it was.
extension RaftPaperTests {
    private static var options: RaftOptions {
        var options = RaftOptions()
        options.usedStorePatienceTicks = 600
        return options
    }

    private func refusal(
        _ subject: inout RaftSubject, of number: Int, generation: Int = 2, state: StoreState
    ) -> RaftCore.StoreRefusal? {
        var refusal: RaftCore.StoreRefusal?
        subject.input {
            refusal = $0.refusal(
                of: Names.store(number, generation: generation), state: state, as: Names.member(number))
        }
        return refusal
    }

    private func recordedStore(_ subject: RaftSubject, of number: Int) -> StoreID? {
        subject.core.configuration?.member(Names.member(number))?.store
    }

    // MARK: Another store than the one on record

    @Test("While the store on record is heard, a leader talks to no other; then to an empty one, later to a used one")
    func otherStoreIsRefused() {
        var subject = RaftSubject.leader(options: Self.options)
        #expect(refusal(&subject, of: 2, generation: 1, state: .entries) == nil)
        for state in StoreState.allCases { #expect(refusal(&subject, of: 2, state: state) == .recordedIsHeard) }
        subject.tick(59, answeredBy: [3])
        #expect(refusal(&subject, of: 2, state: .empty) == .recordedIsHeard)
        subject.tick(1, answeredBy: [3])
        #expect(refusal(&subject, of: 2, state: .empty) == nil)
        for state in [StoreState.entries, .voted] { #expect(refusal(&subject, of: 2, state: state) == .isUsed) }
        subject.tick(539, answeredBy: [3])
        #expect(refusal(&subject, of: 2, state: .entries) == .isUsed)
        subject.tick(1, answeredBy: [3])
        #expect(refusal(&subject, of: 2, state: .entries) == nil)
        // It is heard again, on whichever connection.
        subject.answerHeartbeat(from: 2)
        #expect(refusal(&subject, of: 2, state: .entries) == .recordedIsHeard)
    }

    @Test("A new leader waits for an answer of the store on record before it talks to another")
    func newLeaderAsksFirst() {
        var subject = RaftSubject(options: Self.options)
        subject.tick(20)
        subject.elect(by: [3])
        #expect(refusal(&subject, of: 2, state: .empty) == .recordedIsHeard)
        subject.tick(60, answeredBy: [3])
        #expect(refusal(&subject, of: 2, state: .empty) == nil && refusal(&subject, of: 2, state: .entries) == .isUsed)
        subject.tick(540, answeredBy: [3])
        #expect(refusal(&subject, of: 2, state: .entries) == nil)
    }

    @Test("A follower that hears the store on record, because it leads, talks to no other")
    func followerRefusesItsLeadersOldStore() {
        var subject = RaftSubject(options: Self.options)
        subject.step(.heartbeat(1), from: 2)
        #expect(refusal(&subject, of: 2, state: .entries) == .recordedIsHeard)
        subject.tick(60)
        #expect(refusal(&subject, of: 2, state: .empty) == nil)
        // It has never heard the other member, which owes it nothing.
        #expect(refusal(&subject, of: 3, state: .empty) == nil)
    }

    @Test(
        "A node that hears no leader refuses nobody: it may have been away while the store that it knows was replaced")
    func nodeThatWasAwayRefusesNobody() {
        var subject = RaftSubject(options: Self.options)
        // What it has on record is a zombie, which asks it for votes.
        subject.step(.voteRequest(2, last: (1, 1), isPreVote: true), from: 2)
        #expect(refusal(&subject, of: 2, state: .entries) == nil)
        // The replacement leads.
        subject.input { $0.identified(Names.member(2), store: Names.store(2, generation: 2), state: .entries) }
        subject.step(.heartbeat(3), from: 2, generation: 2)
        #expect(subject.core.leader == Names.member(2) && subject.core.term == 3)
    }

    @Test("A used store is recorded after the longer silence of the one on record alone, counted by each leader anew")
    func usedStoreIsRecordedLate() {
        var subject = RaftSubject(options: Self.options)
        // Shown while this node followed.
        subject.input { $0.identified(Names.member(2), store: Names.store(2, generation: 2), state: .entries) }
        subject.elect(by: [3])
        subject.match(2, from: 3)
        subject.tick(595, answeredBy: [3])
        #expect(recordedStore(subject, of: 2) == Names.store(2))
        subject.tick(15, answeredBy: [3])
        #expect(recordedStore(subject, of: 2) == Names.store(2, generation: 2))
    }

    @Test("The store on record, heard again on a connection of its own, keeps its place")
    func storeOnRecordKeepsItsPlace() {
        var subject = RaftSubject.leader(options: Self.options)
        subject.tick(60, answeredBy: [3])
        subject.input { $0.identified(Names.member(2), store: Names.store(2, generation: 2), state: .empty) }
        subject.tick(1, answeredBy: [3])
        // What it says counts for nothing while the other one is shown, but that it says something does.
        for _ in 0..<400 {
            subject.tick(1, answeredBy: [3])
            subject.answerHeartbeat(from: 2)
        }
        #expect(recordedStore(subject, of: 2) == Names.store(2))
        subject.identify(2)
        #expect(subject.core.progressOfPeers.first { $0.member == Names.member(2) }?.match == 0)
    }

    @Test("A replacement that starts again before it is recorded is no used store: it was seen empty")
    func replacementStartsAgain() {
        var subject = RaftSubject.leader(options: Self.options)
        subject.tick(65, answeredBy: [3])
        let store = Names.store(2, generation: 2)
        subject.input { $0.identified(Names.member(2), store: store, state: .empty) }
        #expect(refusal(&subject, of: 2, state: .entries) == nil)
        subject.input { $0.identified(Names.member(2), store: store, state: .entries) }
        subject.tick(10, answeredBy: [3])
        #expect(recordedStore(subject, of: 2) == store)
    }

    @Test("The disk that is back after an empty one took its place for a start is recorded again, once that is silent")
    func formerDiskIsBack() {
        var subject = RaftSubject.leader(options: Self.options)
        subject.tick(60, answeredBy: [3])
        subject.input { $0.identified(Names.member(2), store: Names.store(2, generation: 2), state: .empty) }
        subject.tick(5, answeredBy: [3])
        subject.match(subject.core.lastIndex, from: 3)
        #expect(subject.core.isOnRecord(Names.store(2, generation: 2), of: Names.member(2)))
        subject.tick(60, answeredBy: [3])
        #expect(refusal(&subject, of: 2, generation: 1, state: .entries) == .isUsed)
        subject.tick(600, answeredBy: [3])
        #expect(refusal(&subject, of: 2, generation: 1, state: .entries) == nil)
        subject.input { $0.identified(Names.member(2), store: Names.store(2), state: .entries) }
        subject.tick(5, answeredBy: [3])
        subject.match(subject.core.lastIndex, from: 3)
        #expect(subject.core.isOnRecord(Names.store(2), of: Names.member(2)))
    }

    // MARK: A store that has lost what it acknowledged

    private func end(
        _ durable: LogIndex, _ durableTerm: Term, term: Term = 2, commit: LogIndex = 0, _ commitTerm: Term = 0
    ) -> LogEnd {
        LogEnd(
            term: term, durableIndex: durable, durableTerm: durableTerm, commitIndex: commit, commitTerm: commitTerm)
    }

    /// Member 2 answers a Hello that the subject says now, or said when it knew `acknowledged`.
    private func answer(_ subject: inout RaftSubject, _ end: LogEnd, acknowledged: AcknowledgedLog?) -> [Outgoing] {
        subject.input {
            $0.identified(
                Names.member(2), store: Names.store(2), state: .entries, end: end, acknowledged: acknowledged)
        }
    }

    private func verdicts(_ sent: [Outgoing]) -> [StoreVerdict.Finding] {
        sent.to(2).compactMap { if case .storeVerdict(let verdict) = $0 { verdict.finding } else { nil } }
    }

    @Test("A store that has less than it had acknowledged in this term counts for nothing, and is told so")
    func rolledBackStore() {
        var subject = RaftSubject.leader()
        let last = subject.core.lastIndex
        let known = subject.core.acknowledgedLog(of: Names.member(2))
        #expect(known == AcknowledgedLog(term: 2, store: Names.store(2), index: last))
        _ = answer(&subject, end(last - 1, 1), acknowledged: known)
        #expect(subject.core.progressOfPeers.first { $0.member == Names.member(2) }?.match == 0)
        // It hears of it in place of heartbeats, and gets no entries.
        let sent = subject.propose() + subject.tick(10, answeredBy: [3])
        #expect(verdicts(sent) == [.lost(last), .lost(last)])
        #expect(sent.to(2).count == 2)
        // Nothing that it says counts: no match, no answer to a heartbeat, no vote of its own.
        subject.match(last + 1, from: 2)
        #expect(subject.core.commit == last)
        subject.input { $0.disconnected(Names.member(2)) }
        #expect(subject.tick(5, answeredBy: [2, 3]).to(2).count == 1)
        subject.match(last + 1, from: 3)
        #expect(subject.core.commit == last + 1)
        for _ in 0..<4 { subject.tick(20, answeredBy: [2]) }
        #expect(!subject.core.isLeader)
    }

    @Test("The same store with all that it had acknowledged is what it was again")
    func restoredStore() {
        var subject = RaftSubject.leader()
        let last = subject.core.lastIndex
        let known = subject.core.acknowledgedLog(of: Names.member(2))
        _ = answer(&subject, end(last - 1, 1), acknowledged: known)
        // A second connection, dialled after that, knows less and proves nothing.
        _ = answer(&subject, end(last - 1, 1), acknowledged: subject.core.acknowledgedLog(of: Names.member(2)))
        #expect(verdicts(subject.tick(5, answeredBy: [3])).count == 1)
        _ = answer(&subject, end(last, 2), acknowledged: nil)
        #expect(verdicts(subject.tick(5, answeredBy: [3])).isEmpty)
        subject.propose()
        subject.match(last + 1, from: 2)
        #expect(subject.core.commit == last + 1)
    }

    @Test(
        "No evidence: acknowledged after the Hello, of a later term, of another leader's term or store, or no promise")
    func noEvidence() {
        let last = RaftSubject.leader().core.lastIndex
        func isTrusted(_ end: LogEnd, _ change: (inout AcknowledgedLog) -> Void = { _ in }) -> Bool {
            var subject = RaftSubject.leader()
            var known = subject.core.acknowledgedLog(of: Names.member(2))!
            change(&known)
            _ = answer(&subject, end, acknowledged: known)
            return verdicts(subject.tick(5, answeredBy: [3])).isEmpty
        }
        #expect(!isTrusted(end(last - 1, 1)))
        // The acknowledgement that overtook the answer is not in what was known before.
        #expect(isTrusted(end(last - 1, 1)) { $0.index = last - 1 })
        // A later leader may have replaced what this one wrote.
        #expect(isTrusted(end(last - 1, 1, term: 3)))
        #expect(isTrusted(end(last - 1, 1)) { $0.term = 1 })
        #expect(isTrusted(end(last - 1, 1)) { $0.store = Names.store(2, generation: 9) })
        // More than it promised, of whatever term.
        #expect(isTrusted(end(last + 3, 1)))
        #expect(isTrusted(end(last, 2, commit: last, 2)))
    }

    @Test("A new store of the member has promised nothing")
    func otherStoreHasPromisedNothing() {
        var subject = RaftSubject.leader()
        let known = subject.core.acknowledgedLog(of: Names.member(2))
        subject.input {
            $0.identified(
                Names.member(2), store: Names.store(2, generation: 2), state: .empty, end: end(0, 0, term: 0),
                acknowledged: known)
        }
        #expect(verdicts(subject.tick(5, answeredBy: [3])).isEmpty)
    }

    @Test(
        "A store that knows an entry to be committed which the leader lacks is told so, also by a leader elected later")
    func contradictedStore() {
        let last = RaftSubject.leader().core.lastIndex
        for (said, finding) in [
            (end(last + 1, 2, commit: last + 1, 2), StoreVerdict.Finding.contradicted(last + 1, leaderTerm: 0)),
            (end(last, 1, commit: last, 1), .contradicted(last, leaderTerm: 2)),
        ] {
            var subject = RaftSubject.leader()
            _ = answer(&subject, said, acknowledged: nil)
            #expect(verdicts(subject.tick(5, answeredBy: [3])) == [finding])
        }
        var follower = RaftSubject()
        _ = answer(&follower, end(2, 1, term: 1, commit: 2, 1), acknowledged: nil)
        follower.elect(by: [3])
        #expect(verdicts(follower.tick(5, answeredBy: [3])) == [.contradicted(2, leaderTerm: 2)])
    }

    @Test("A member that is told so looks for itself")
    func verdictIsVerified() {
        func loss(_ finding: StoreVerdict.Finding, term: Term = 3) -> StoreLoss? {
            var subject = RaftSubject(terms: [1, 2, 2], commit: 2)
            subject.step(.storeVerdict(StoreVerdict(term: term, finding: finding)), from: 2)
            return subject.core.storeLoss
        }
        #expect(loss(.lost(3)) == nil)
        #expect(loss(.lost(4)) == .acknowledged(4, durable: 3, leader: Names.member(2), term: 3))
        #expect(loss(.lost(4), term: 1) == nil, "a leader of the past")
        #expect(loss(.contradicted(2, leaderTerm: 2)) == nil)
        #expect(loss(.contradicted(3, leaderTerm: 0)) == nil, "not committed here")
        #expect(
            loss(.contradicted(2, leaderTerm: 3))
                == .committed(2, term: 2, leaderTerm: 3, leader: Names.member(2)))
        #expect(
            loss(.contradicted(2, leaderTerm: 0))
                == .committed(2, term: 2, leaderTerm: 0, leader: Names.member(2)))
    }

    @Test("An append or a snapshot that repeats what is committed, or goes beyond this log, is no contradiction")
    func lawfulAppends() {
        func subject() -> RaftSubject { RaftSubject(terms: [1, 2, 2, 2], commit: 4) }
        let lawful: [Message] = [
            .append(term: 3, after: (2, 2), [2, 2, 3], commit: 4), .append(term: 3, after: (4, 2), [3]),
            .append(term: 3, after: (0, 0), [1]), .append(term: 3, after: (9, 3), [3]),
            .snapshotOffer(SnapshotOffer(term: 3, transfer: 1, index: 4, indexTerm: 2, estimatedBytes: 1)),
        ]
        for message in lawful {
            var subject = subject()
            subject.step(message, from: 2)
            #expect(subject.core.storeLoss == nil && subject.core.leader == Names.member(2), "\(message)")
        }
    }
}
