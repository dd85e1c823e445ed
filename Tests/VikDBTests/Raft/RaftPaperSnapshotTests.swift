import Testing
import VikDB
import VikWire

/// Logs that have lost their beginning, and snapshots that take its place: §7.
extension RaftPaperTests {
    // MARK: The leader

    @Test(
        "§7 who needs entries that are compacted is sent a snapshot, never an append without them (compact-vs-replicate)"
    )
    func compactedPastFollower() {
        var subject = RaftSubject.compactedLeader()
        let sent = subject.step(.rejected(4, hint: (1, 1), term: 2), from: 3)
        #expect(subject.takeSnapshotsNeeded() == [Names.member(3)] && subject.core.isInstalling(Names.member(3)))
        #expect(sent.appends.isEmpty)
        // Until it has that it is sent heartbeats alone, and asked for once.
        subject.propose()
        let later = subject.tick(20, answeredBy: [2, 3])
        #expect(later.to(3).allSatisfy { $0.asHeartbeat?.commit == 0 } && !later.to(3).isEmpty)
        #expect(subject.takeSnapshotsNeeded().isEmpty)
    }

    @Test("§7 with the entry before the log's first one the log is enough")
    func compactedUpToFollower() {
        var subject = RaftSubject.leader()
        subject.propose(3)
        subject.match(8, from: 2)
        // Member 3 has entries through 5, which is the one before the first.
        subject.input { $0.compact(through: 5) }
        let appends = subject.input { $0.disconnected(Names.member(3)) }.to(3).compactMap(\.asAppend)
        #expect(appends.map { [$0.previousIndex, $0.previousTerm, UInt64($0.entries.count)] } == [[5, 2, 3]])
        #expect(subject.takeSnapshotsNeeded().isEmpty)
    }

    @Test("§7 an append that waited for entries from disk becomes a snapshot if they are compacted meanwhile")
    func compactedWhileFetching() {
        var options = RaftOptions()
        options.entryCacheBytes = 0
        options.maxInflightAppends = 1
        options.appendBytes = 1
        var subject = RaftSubject.leader(options: options)
        subject.propose(3)
        subject.match(8, from: 2)
        subject.match(6, from: 3)
        #expect(subject.takeFetches().map(\.member) == [Names.member(3)])
        subject.input { $0.compact(through: 8) }
        let sent = subject.input { $0.fetched([], for: Names.member(3)) }
        #expect(sent.appends.isEmpty && subject.takeSnapshotsNeeded() == [Names.member(3)])
    }

    @Test("§7 only what is committed and durable here is compacted")
    func compactionIsBounded() {
        var subject = RaftSubject.leader()
        subject.holdsDisk = true
        subject.propose(2)
        subject.match(6, from: 2)
        subject.match(6, from: 3)
        #expect(subject.core.commit == 6)
        subject.input { $0.compact(through: 7) }
        #expect(subject.core.baseIndex == 5 && subject.core.termOfEntry(at: 5) == 2)
        #expect(subject.core.termOfEntry(at: 4) == nil && subject.core.lastIndex == 7)
        subject.persist()
        subject.input { $0.compact(through: 7) }
        #expect(subject.core.baseIndex == 6)
    }

    @Test("§7 once it is installed the log goes on after it, and its entries count as acknowledged")
    func snapshotInstalledAtFollower() {
        var subject = RaftSubject.compactedLeader()
        subject.step(.rejected(4, hint: (1, 1), term: 2), from: 3)
        subject.propose()
        let sent = subject.input { $0.snapshotEnded(for: Names.member(3), installed: 8) }
        #expect(!subject.core.isInstalling(Names.member(3)))
        #expect(sent.to(3).compactMap(\.asAppend).map { [$0.previousIndex, $0.previousTerm] } == [[8, 2]])
        #expect(subject.core.progressOfPeers.first { $0.member == Names.member(3) }?.match == 8)
        #expect(subject.match(9, from: 3).isEmpty && subject.core.commit == 9)
    }

    @Test("§7 a transfer that failed is begun anew after a pause, twice as long each time")
    func snapshotFailed() {
        var subject = RaftSubject.compactedLeader()
        subject.step(.rejected(4, hint: (1, 1), term: 2), from: 3)
        #expect(subject.takeSnapshotsNeeded() == [Names.member(3)])
        for pause in [30, 60, 120] {
            // A claim beyond the log is none either.
            subject.input { $0.snapshotEnded(for: Names.member(3), installed: pause == 60 ? 99 : nil) }
            #expect(!subject.core.isInstalling(Names.member(3)))
            #expect(subject.tick(pause - 1, answeredBy: [2, 3]).to(3).allSatisfy { $0.asHeartbeat != nil })
            #expect(subject.takeSnapshotsNeeded().isEmpty)
            subject.tick(1, answeredBy: [2, 3])
            #expect(subject.takeSnapshotsNeeded() == [Names.member(3)], "after \(pause)")
        }
    }

    @Test("§7 who caught up by itself meanwhile needs no snapshot; what it had before the log's first entry is no news")
    func caughtUpDuringTransfer() {
        var subject = RaftSubject.compactedLeader()
        subject.step(.rejected(4, hint: (1, 1), term: 2), from: 3)
        subject.match(5, from: 3)
        #expect(subject.core.isInstalling(Names.member(3)))
        subject.match(6, from: 3)
        #expect(!subject.core.isInstalling(Names.member(3)))
        #expect(subject.core.progressOfPeers.first { $0.member == Names.member(3) }?.match == 6)
    }

    @Test("§7 a broken connection ends no transfer; another disk does")
    func otherDiskDuringTransfer() {
        var subject = RaftSubject.compactedLeader()
        subject.step(.rejected(4, hint: (1, 1), term: 2), from: 3)
        subject.input { $0.disconnected(Names.member(3)) }
        #expect(subject.core.isInstalling(Names.member(3)))
        subject.identify(3, generation: 2)
        #expect(!subject.core.isInstalling(Names.member(3)))
        _ = subject.takeSnapshotsNeeded()
        subject.input { $0.snapshotEnded(for: Names.member(3), installed: 8) }
        #expect(subject.core.progressOfPeers.first { $0.member == Names.member(3) }?.match == 0)
        subject.tick(10, answeredBy: [2])
        subject.step(.rejected(8, hint: (0, 0), term: 2), from: 3, generation: 2)
        #expect(subject.takeSnapshotsNeeded() == [Names.member(3)])
    }

    // MARK: The follower

    @Test("§7 a snapshot whose last entry the log has otherwise takes the place of all of it (hashicorp/raft#697)")
    func snapshotConflict() {
        var subject = RaftSubject(terms: [1, 1, 2, 2, 2, 2], term: 3, commit: 2)
        #expect(subject.step(.offer(3, through: (4, 3)), from: 2).isEmpty)
        #expect(subject.takeSnapshotMessages() == [.offer(3, through: (4, 3))], "it is for the shell to take in")
        #expect(subject.core.needsSnapshot(through: 4, term: 3))
        let configuration = Names.configuration(3).changing(Names.member(3)) { $0.address = "moved:1" }
        subject.install(through: 4, term: 3, IndexedConfiguration(index: 3, configuration: configuration))
        for _ in 0..<2 {
            #expect(subject.core.lastIndex == 4 && subject.core.baseIndex == 4 && subject.core.commit == 4)
            #expect(subject.core.termOfEntry(at: 4) == 3 && subject.core.termOfEntry(at: 3) == nil)
            #expect(subject.core.configuration == configuration && subject.core.mayVote)
            #expect(subject.core.applicable == 4)
            subject.restart()
        }
        // What stood after it is gone too; the log goes on with what the leader has.
        #expect(subject.step(.append(term: 3, after: (4, 3), [3]), from: 2).to(2) == [.matched(5, term: 3)])
        // And an append from before it is taken from there on.
        #expect(subject.step(.append(term: 3, after: (2, 1), [3, 3, 3, 3]), from: 2).to(2) == [.matched(6, term: 3)])
        #expect(subject.core.lastIndex == 6)
    }

    @Test("§7 a snapshot of what the log has keeps what follows (camunda#6092)")
    func snapshotBehindTheLog() {
        var subject = RaftSubject(terms: [1, 1, 1, 1, 1], commit: 1)
        #expect(subject.step(.offer(1, through: (3, 1)), from: 2).to(2) == [.installed(3, term: 1)])
        #expect(subject.core.lastIndex == 5 && subject.core.commit == 3 && subject.core.baseIndex == 0)
        // Nor does an older one take back what is committed.
        #expect(subject.step(.offer(1, through: (2, 1)), from: 2).to(2) == [.installed(3, term: 1)])
        #expect(subject.takeSnapshotMessages().isEmpty)
        #expect(!subject.core.needsSnapshot(through: 5, term: 1) && !subject.core.needsSnapshot(through: 2, term: 1))
        subject.input { $0.compact(through: 3) }
        #expect(subject.step(.offer(1, through: (2, 1)), from: 2).to(2) == [.installed(3, term: 1)])
    }

    @Test("§7 what a snapshot brings and the log has is acknowledged only once it is durable")
    func snapshotOfUnsyncedEntries() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        subject.step(.append(term: 1, after: (1, 1), [1, 1]), from: 2)
        #expect(subject.step(.offer(1, through: (3, 1)), from: 2).isEmpty)
        #expect(subject.core.commit == 3 && subject.core.applicable == 1)
        #expect(subject.persist().to(2) == [.matched(3, term: 1)])
    }

    @Test("§7 while a snapshot takes the place of everything, nothing else changes it; votes are given")
    func installing() {
        var subject = RaftSubject(terms: [1, 1, 2, 2], term: 3, commit: 2)
        subject.step(.offer(3, through: (9, 3)), from: 2)
        _ = subject.takeSnapshotMessages()
        subject.input { $0.beginInstalling() }
        #expect(!subject.core.mayServeReads)
        #expect(subject.step(.append(term: 3, after: (2, 1), [3, 3]), from: 2).isEmpty)
        #expect(subject.step(.timeoutNow(3), from: 2).isEmpty)
        #expect(subject.step(.heartbeat(3, commit: 9), from: 2).to(2).count == 1)
        #expect(subject.terms == [1, 1, 2, 2] && subject.core.commit == 2)
        // To offers the shell says how far it is; it has all parts, so that more of them are dropped.
        subject.step(.offer(3, through: (12, 3)), from: 2)
        subject.step(
            .snapshotEnd(.init(term: 3, transfer: 5, chunks: 0, records: 0, rawBytes: 0, checksum: 0)), from: 2)
        #expect(subject.takeSnapshotMessages() == [.offer(3, through: (12, 3))])
        #expect(subject.tick(300).isEmpty && subject.core.role == .follower)
        #expect(subject.step(.voteRequest(4, last: (9, 3)), from: 3).to(3) == [.vote(4, granted: true)])
        // It comes from the leader of an earlier term; what is in it is committed all the same.
        let configuration = IndexedConfiguration(index: 1, configuration: Names.configuration(3))
        subject.finishInstalling(through: 9, term: 3, configuration)
        #expect(subject.core.lastIndex == 9 && subject.core.commit == 9 && subject.core.term == 4)
        subject.restart()
        #expect(subject.vote == Names.member(3) && subject.core.lastIndex == 9)
    }

    @Test("§7 a snapshot that cannot be installed leaves everything as it was")
    func installFailed() {
        var subject = RaftSubject(terms: [1, 1, 2, 2], term: 3, commit: 2)
        subject.step(.heartbeat(3), from: 2)
        subject.input { $0.beginInstalling() }
        subject.input { $0.installFailed() }
        #expect(subject.terms == [1, 1, 2, 2] && subject.core.mayServeReads)
        #expect(subject.step(.append(term: 3, after: (2, 1), [3]), from: 2).to(2) == [.matched(3, term: 3)])
        subject.campaign()
    }

    @Test("§7 a change of the leader in the midst of a transfer: parts of the old one's are stale (snapshot-chunks)")
    func leaderChangesDuringTransfer() {
        var subject = RaftSubject(terms: [1, 1], term: 2)
        subject.step(.offer(2, through: (9, 2)), from: 2)
        subject.step(.offer(3, through: (10, 2)), from: 3)
        subject.step(
            .snapshotEnd(.init(term: 2, transfer: 5, chunks: 0, records: 0, rawBytes: 0, checksum: 0)), from: 2)
        #expect(subject.step(.offer(2, through: (9, 2)), from: 2).isEmpty)
        #expect(subject.takeSnapshotMessages() == [.offer(2, through: (9, 2)), .offer(3, through: (10, 2))])
        #expect(subject.core.leader == Names.member(3))
        // What the shell answers goes to the leader of the day.
        let sent = subject.input { $0.replyToSnapshot(5, .wants(sequence: 1)) }
        #expect(sent.map(\.to) == [Names.member(3)])
    }

    @Test("A leader hands on what its followers answer to a snapshot, and no offer")
    func snapshotReplies() {
        var subject = RaftSubject.leader()
        let reply = Message.snapshotReply(SnapshotReply(term: 2, transfer: 5, outcome: .wants(sequence: 2)))
        subject.step(reply, from: 3)
        #expect(subject.takeSnapshotMessages() == [reply])
        var follower = RaftSubject(term: 2)
        follower.step(reply, from: 3)
        #expect(follower.takeSnapshotMessages().isEmpty)
    }
}

extension RaftSubject {
    /// A leader of three whose log holds entries 7 and 8, both committed; it has sent entries 5 to 8 to member 3 and has
    /// not heard from it.
    fileprivate static func compactedLeader() -> RaftSubject {
        var subject = RaftSubject(terms: [1, 1, 1, 1])
        subject.elect()
        subject.propose(3)
        subject.match(8, from: 2)
        subject.input { $0.compact(through: 6) }
        #expect(subject.core.commit == 8 && subject.core.baseIndex == 6)
        return subject
    }
}

extension Message {
    fileprivate static func rejected(
        _ previous: LogIndex, hint: (index: LogIndex, term: Term), term: Term
    ) -> Message {
        .appendReply(
            AppendReply(
                term: term,
                outcome: .rejected(previousIndex: previous, hintIndex: hint.index, hintTerm: hint.term)))
    }

    fileprivate static func offer(_ term: Term, through last: (index: LogIndex, term: Term)) -> Message {
        .snapshotOffer(
            SnapshotOffer(term: term, transfer: 5, index: last.index, indexTerm: last.term, estimatedBytes: 0))
    }

    fileprivate static func installed(_ index: LogIndex, term: Term) -> Message {
        .snapshotReply(SnapshotReply(term: term, transfer: 5, outcome: .installed(index)))
    }
}

/// What is still under way when a snapshot takes the place of the log.
extension RaftPaperTests {
    private static let installed = IndexedConfiguration(index: 1, configuration: Names.configuration(3))

    @Test("A write that belongs to the log before a snapshot vouches for nothing in the log after it")
    func writeAcrossAnInstall() {
        var subject = RaftSubject(terms: [1, 1, 1, 1, 1, 1, 1, 1])
        subject.holdsDisk = true
        subject.input { $0.beginInstalling() }
        // A term of its own is to be saved while the snapshot is put in place.
        subject.step(.heartbeat(3), from: 2)
        #expect(subject.node.pending?.hardState?.term == 3 && subject.node.pending?.entries.isEmpty == true)
        subject.finishInstalling(through: 4, term: 2, Self.installed)
        subject.step(.append(term: 3, after: (4, 2), [3, 3, 3]), from: 2)
        let sent = subject.persist()
        #expect(!sent.contains { $0.message == .matched(7, term: 3) })
        #expect(subject.core.applicable == 4)
        #expect(subject.persist().contains { $0.message == .matched(7, term: 3) })
    }

    @Test("Entries of the log before a snapshot are not written any more, although a full disk has room again")
    func roomDuringAnInstall() {
        var subject = RaftSubject(terms: [1, 1])
        subject.holdsDisk = true
        subject.step(.append(term: 1, after: (2, 1), [1, 1]), from: 2)
        subject.refuseWrite()
        #expect(subject.core.isLogQuiet && subject.core.isLogFull)
        subject.input { $0.beginInstalling() }
        subject.input { $0.logHasRoom() }
        #expect(subject.node.pending == nil)
        subject.step(.heartbeat(2), from: 2)
        #expect(subject.node.pending?.entries.isEmpty == true)
        subject.persist()
        subject.finishInstalling(through: 6, term: 2, Self.installed)
        while subject.node.pending != nil {
            #expect(subject.node.pending?.entries.isEmpty == true)
            subject.persist()
        }
        #expect(subject.core.lastIndex == 6)
    }
}
