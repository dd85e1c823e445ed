import NIOCore
import Testing
import VikDB
import VikWire

/// Who counts: founding a cluster, the stores on record, and a member that lost its disk.
extension RaftPaperTests {
    // MARK: Founding

    @Test("Founding: an empty store neither votes nor campaigns before all founders have answered as empty")
    func foundingGate() {
        var subject = RaftSubject(disk: SimulatedDisk(store: Names.store(1)))
        subject.identifyAll()
        #expect(subject.tick(200).isEmpty && subject.core.term == 0 && !subject.core.mayVote)
        #expect(subject.step(.voteRequest(1, last: (0, 0)), from: 2).isEmpty)
        #expect(subject.core.storeState == .empty)
        subject.input { $0.found(Names.configuration(3)) }
        #expect(subject.core.mayVote)
        #expect(subject.step(.voteRequest(1, last: (0, 0)), from: 2).to(2) == [.vote(1, granted: true)])
    }

    @Test("Founding: the elected founder's first entry is the configuration; it counts itself only once it is durable")
    func foundingEntry() {
        var subject = RaftSubject(disk: SimulatedDisk(store: Names.store(1)))
        subject.identifyAll()
        subject.input { $0.found(Names.configuration(3)) }
        subject.elect()
        #expect(subject.node.disk.entries.map(\.kind) == [.configuration])
        #expect(subject.core.incarnation == .zero)
        subject.match(1, from: 2)
        #expect(subject.core.commit == 1 && subject.core.incarnation == Names.configuration(3).incarnation)
    }

    @Test("Founding: a founder that finds a cluster takes that one's identity, its own counts no more")
    func foundersDisagree() {
        var subject = RaftSubject(disk: SimulatedDisk(store: Names.store(1)))
        subject.identifyAll()
        subject.input { $0.found(Names.configuration(3, incarnation: 1)) }
        subject.elect()
        let other = Names.configuration(3, incarnation: 2)
        let entry = Entry(index: 1, term: 2, kind: .configuration, payload: other.encoded())
        subject.step(
            .append(AppendRequest(term: 2, previousIndex: 0, previousTerm: 0, commit: 0, entries: [entry])), from: 3)
        #expect(subject.core.configuration == other && subject.core.incarnation == .zero)
        subject.step(.append(term: 2, after: (1, 2), commit: 1), from: 3)
        #expect(subject.core.incarnation == other.incarnation)
        subject.input { $0.found(Names.configuration(3, incarnation: 3)) }
        #expect(subject.core.configuration == other)
    }

    // MARK: Stores

    @Test("A message of a store that the member has not shown is ignored")
    func unknownStore() {
        var subject = RaftSubject()
        subject.step(.heartbeat(9), from: 2, generation: 2)
        subject.step(.heartbeat(9), from: 8)
        #expect(subject.core.term == 1)
    }

    @Test("Votes of a store that is not on record count for nothing")
    func unrecordedStoreVotes() {
        var subject = RaftSubject()
        subject.identify(2, generation: 2)
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2, generation: 2)
        #expect(subject.core.role == .preCandidate)
        subject.step(.vote(2, granted: true, isPreVote: true), from: 3)
        subject.step(.vote(2, granted: true), from: 2, generation: 2)
        #expect(subject.core.role == .candidate)
        subject.step(.vote(2, granted: true), from: 3)
        #expect(subject.core.isLeader)
    }

    @Test("A member whose disk was lost counts for nothing until its new store is recorded by a quorum of the others")
    func wipedMember() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        subject.match(2, from: 3)
        subject.identify(2, generation: 2)
        // The new store claims what the old one had, and confirms reads: nothing of it counts.
        subject.propose()
        subject.match(3, from: 2, generation: 2)
        #expect(subject.core.commit == 2)
        let read = subject.read()
        subject.answerHeartbeat(round: 1, from: 2, generation: 2)
        #expect(subject.confirmedReads().isEmpty)
        subject.answerHeartbeat(round: 1, from: 3)
        #expect(subject.confirmedReads() == [read.context])

        subject.match(3, from: 3)
        subject.tick(5)
        #expect(subject.node.disk.entry(at: 4)?.kind == .configuration && subject.core.commit == 3)
        subject.match(4, from: 2, generation: 2)
        #expect(subject.core.commit == 3)
        subject.match(4, from: 3)
        #expect(subject.core.commit == 4)
        #expect(subject.core.configuration?.member(Names.member(2))?.store == Names.store(2, generation: 2))

        // From now on it counts.
        subject.propose()
        subject.match(5, from: 2, generation: 2)
        #expect(subject.core.commit == 5)
        subject.tick(20)
        #expect(subject.core.lastIndex == 5)
    }

    @Test("A new store starts from nothing: what the old one had acknowledged is forgotten")
    func wipedMemberMatch() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        subject.match(2, from: 3)
        subject.identify(3, generation: 2)
        #expect(subject.tick(5).to(3).compactMap(\.asHeartbeat).map(\.commit) == [0])
        // What the old store sent and was delayed counts as little.
        subject.propose()
        subject.match(3, from: 3)
        #expect(subject.core.commit == 2)
    }

    @Test("Check-quorum does not count a store that is not on record")
    func wipedMemberCheckQuorum() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        subject.identify(2, generation: 2)
        for _ in 0..<4 {
            subject.tick(20)
            subject.answerHeartbeat(from: 2, generation: 2)
        }
        #expect(!subject.core.isLeader)
    }

    @Test("One store is recorded at a time, and only once an entry of the leader's own term is committed")
    func oneRecordAtATime() {
        var subject = RaftSubject(members: 5)
        subject.elect(by: [2, 3])
        subject.identify(4, generation: 2)
        subject.identify(5, generation: 2)
        subject.tick(10)
        #expect(subject.core.lastIndex == 2)
        for peer in [2, 3] { subject.match(2, from: peer) }
        subject.tick(10)
        #expect(subject.node.disk.entries.map(\.kind) == [.configuration, .noOp, .configuration])
        for peer in [2, 3] { subject.match(3, from: peer) }
        subject.tick(5)
        #expect(subject.core.lastIndex == 4)
        for peer in [2, 3] { subject.match(4, from: peer) }
        for number in [4, 5] {
            #expect(
                subject.core.configuration?.member(Names.member(number))?.store
                    == Names.store(number, generation: 2))
        }
    }

    @Test("A member with a new disk votes only once the entry with its store is durable on it")
    func wipedMemberVotes() throws {
        var subject = RaftSubject(disk: SimulatedDisk(store: Names.store(1, generation: 2)))
        subject.identifyAll()
        subject.holdsDisk = true
        let old = Names.configuration(3)
        let new = old.changing(Names.member(1)) { $0.store = Names.store(1, generation: 2) }
        let entries = [
            Entry(index: 1, term: 1, kind: .configuration, payload: old.encoded()),
            Entry(index: 2, term: 1, kind: .configuration, payload: new.encoded()),
        ]
        subject.step(
            .append(
                AppendRequest(
                    term: 1, previousIndex: 0, previousTerm: 0, commit: 1, entries: Array(entries.prefix(1)))),
            from: 2)
        subject.persist()
        #expect(!subject.core.mayVote && !subject.core.mayServeReads)
        #expect(subject.tick(100).isEmpty && subject.core.role == .follower)
        subject.step(
            .append(
                AppendRequest(
                    term: 1, previousIndex: 1, previousTerm: 1, commit: 1, entries: Array(entries.suffix(1)))),
            from: 2)
        #expect(!subject.core.mayVote)
        // The first write saves that the older configuration is committed.
        while !subject.persist().contains(where: { $0.message == .matched(2, term: 1) }) {
            #expect(!subject.core.mayVote)
            try #require(subject.node.pending != nil)
        }
        #expect(subject.core.mayVote)
    }

    @Test("A store is not counted by an entry that is not known to be committed, after a restart neither")
    func uncommittedRecord() {
        let old = Names.configuration(3)
        let new = old.changing(Names.member(2)) { $0.store = Names.store(2, generation: 2) }
        var disk = SimulatedDisk(
            store: Names.store(1), hardState: HardState(term: 1), terms: [1], configuration: old)
        // A stale leader recorded member 2's new store here and nowhere else.
        var writer = RaftSubject(disk: disk)
        writer.identify(3)
        writer.step(
            .append(
                AppendRequest(
                    term: 1, previousIndex: 1, previousTerm: 1, commit: 0,
                    entries: [Entry(index: 2, term: 1, kind: .configuration, payload: new.encoded())])),
            from: 3)
        disk = writer.node.disk
        var subject = RaftSubject(disk: disk)
        subject.identify(2, generation: 2)
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2, generation: 2)
        #expect(subject.core.role == .preCandidate)
    }

    @Test("A record that is committed is saved as such at once, so that it counts after a restart")
    func committedRecordIsSaved() {
        let old = Names.configuration(3)
        let new = old.changing(Names.member(2)) { $0.store = Names.store(2, generation: 2) }
        var subject = RaftSubject()
        subject.step(
            .append(
                AppendRequest(
                    term: 1, previousIndex: 1, previousTerm: 1, commit: 1,
                    entries: [Entry(index: 2, term: 1, kind: .configuration, payload: new.encoded())])),
            from: 3)
        subject.step(.heartbeat(1, commit: 2), from: 3)
        subject.restart()
        subject.identify(2, generation: 2)
        subject.campaign()
        subject.step(.vote(2, granted: true, isPreVote: true), from: 2, generation: 2)
        #expect(subject.core.role == .candidate && subject.core.incarnation == old.incarnation)
    }

    @Test("A record that is truncated is forgotten with its entry")
    func truncatedRecord() {
        let old = Names.configuration(3)
        let new = old.changing(Names.member(1)) { $0.store = Names.store(1, generation: 2) }
        var subject = RaftSubject()
        subject.step(
            .append(
                AppendRequest(
                    term: 1, previousIndex: 1, previousTerm: 1, commit: 1,
                    entries: [Entry(index: 2, term: 1, kind: .configuration, payload: new.encoded())])),
            from: 2)
        #expect(subject.core.configuration == new && !subject.core.mayVote)
        subject.step(.append(term: 2, after: (1, 1), [2]), from: 3)
        #expect(subject.core.configuration == old && subject.core.mayVote)
    }
}
