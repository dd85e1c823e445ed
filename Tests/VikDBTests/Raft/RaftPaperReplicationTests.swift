import NIOCore
import Testing
import VikDB
import VikWire

/// Log replication, commitment, durability and flow control.
extension RaftPaperTests {
    // MARK: §5.3 Log replication, the leader

    @Test("§5.3 a new leader's first entry is an empty one of its term, sent to all at once")
    func noOp() {
        var subject = RaftSubject()
        let appends = subject.elect().appends
        #expect(subject.terms == [1, 2] && appends.count == 2)
        #expect(appends.allSatisfy { $0.previousIndex == 1 && $0.entries.map(\.kind) == [.noOp] })
    }

    @Test("§5.3 a proposal goes to all followers in parallel with the leader's own write")
    func parallelWrite() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        subject.match(2, from: 3)
        subject.holdsDisk = true
        #expect(subject.propose(3).appends.map(\.entries.count) == [3, 3])
    }

    @Test("§5.3 an entry commits once a majority has it on disk; what precedes it commits too")
    func majorityCommits() {
        var subject = RaftSubject(members: 5, terms: [1, 1, 1])
        subject.elect(by: [2, 3])
        subject.propose(2)
        subject.match(6, from: 2)
        #expect(subject.core.commit == 0)
        subject.match(5, from: 3)
        #expect(subject.core.commit == 5)
        subject.match(6, from: 4)
        #expect(subject.core.commit == 6)
        // Duplicates, late ones, and claims beyond the log, which are refused, move nothing.
        subject.match(3, from: 3)
        #expect(subject.refusal(of: .matched(900, term: 2), from: 5) == .acknowledgesUnknown(900, last: 6))
        #expect(subject.core.commit == 6 && subject.core.applicable == 6)
    }

    @Test("§5.3 acknowledgements of one follower count once")
    func duplicateAcknowledgements() {
        var subject = RaftSubject(members: 5)
        subject.elect(by: [2, 3])
        for _ in 0..<4 { subject.match(2, from: 2) }
        #expect(subject.core.commit == 0)
    }

    @Test("§5.3, etcd#14370 the leader does not count itself before its own write is durable", arguments: [1, 2, 3])
    func leaderCountsDurableOnly(members: Int) {
        var subject = RaftSubject(members: members)
        if members == 1 { subject.tick() } else { subject.elect() }
        for peer in 2..<members + 1 where members > 1 { subject.match(2, from: peer) }
        #expect(subject.core.commit == 2)
        subject.holdsDisk = true
        subject.propose()
        if members > 1 { subject.match(3, from: 2) }
        #expect(subject.core.commit == 2)
        subject.persist()
        #expect(subject.core.commit == 3)
    }

    @Test("§5.3 a majority of followers commits what the leader's slow disk does not have yet; it is not applied here")
    func slowLeaderDisk() {
        var subject = RaftSubject()
        subject.elect()
        subject.holdsDisk = true
        subject.propose()
        subject.match(3, from: 2)
        subject.match(3, from: 3)
        #expect(subject.core.commit == 3 && subject.core.applicable == 2)
        subject.persist()
        #expect(subject.core.applicable == 3)
    }

    @Test("§5.3 a leader finds the place where the logs agree in one step a term (figure 7)")
    func backtracking() {
        var subject = RaftSubject(terms: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6])
        var last = subject.elect().filter { $0.to == Names.member(3) }.appends.last!
        #expect(last.previousIndex == 10)
        // Follower (f) of figure 7: 1 1 1 2 2 2 3 3 3 3 3.
        var follower = RaftSubject(terms: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], term: 6)
        var rounds = 0
        while rounds < 20, follower.core.lastIndex != subject.core.lastIndex || follower.terms != subject.terms {
            rounds += 1
            for message in follower.step(.append(last), from: 2).to(2) {
                if let next = subject.step(message, from: 3).to(3).compactMap(\.asAppend).last { last = next }
            }
            // Old entries come from the disk.
            for fetch in subject.takeFetches() where fetch.member == Names.member(3) {
                let entries = (fetch.from...fetch.through).map { subject.node.disk.entry(at: $0)! }
                let sent = subject.input { $0.fetched(entries, for: fetch.member) }
                last = sent.appends.last ?? last
            }
        }
        #expect(follower.terms == subject.terms && rounds <= 5)
    }

    @Test("§5.3 a rejection that answers an older probe changes nothing")
    func staleRejection() {
        var subject = RaftSubject(terms: [1, 1, 1, 1])
        subject.elect()
        subject.match(5, from: 3)
        let stale = Message.appendReply(
            AppendReply(term: 2, outcome: .rejected(previousIndex: 3, hintIndex: 0, hintTerm: 0)))
        #expect(subject.step(stale, from: 3).isEmpty)
        subject.match(5, from: 2)
        #expect(subject.propose().appends.map(\.previousIndex) == [5, 5])
    }

    @Test("§5.3 a lost append is found out by the next heartbeats and sent again")
    func lostAppend() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        subject.propose()  // lost on its way to member 2
        var resent: [AppendRequest] = []
        for _ in 0..<4 {
            for append in subject.tick(5).filter({ $0.to == Names.member(2) }).appends { resent.append(append) }
            for append in subject.answerHeartbeat(from: 2).appends {
                if append.entries.isEmpty, append.previousIndex == 3 {
                    let rejection = AppendReply(
                        term: 2, outcome: .rejected(previousIndex: 3, hintIndex: 2, hintTerm: 2))
                    resent += subject.step(.appendReply(rejection), from: 2).appends
                } else {
                    resent.append(append)
                }
            }
        }
        #expect(resent.contains { $0.previousIndex == 2 && $0.entries.count == 1 })
    }

    @Test("§5.3 after a broken connection the leader sends again from what it knows to match")
    func brokenConnection() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        subject.match(2, from: 3)
        subject.propose(3)
        let again = subject.input { $0.disconnected(Names.member(2)) }
        #expect(again.appends.map(\.previousIndex) == [2] && again.appends[0].entries.count == 3)
    }

    @Test("§5.3 a follower that restarted while nothing is written is asked again where its log matches")
    func restartedFollower() {
        var subject = RaftSubject()
        subject.elect()
        subject.match(2, from: 2)
        subject.match(2, from: 3)
        #expect(subject.input { $0.disconnected(Names.member(2)) }.appends.isEmpty)
        // All it has was acknowledged by the process before; the new one takes no commit index on that word.
        let probe = subject.answerHeartbeat(from: 2).appends
        #expect(probe.map(\.previousIndex) == [2] && probe[0].entries.isEmpty)
        subject.match(2, from: 2)
        #expect(subject.answerHeartbeat(from: 2).appends.isEmpty)
        // A late acknowledgement of the process before looks the same; but the new one says where it stands.
        #expect(subject.answerHeartbeat(verified: 0, from: 2).appends.map(\.previousIndex) == [2])
    }

    // MARK: §5.3 Log replication, the follower

    @Test("§5.3 a follower takes entries only where the logs agree, and says where they may")
    func consistencyCheck() {
        var subject = RaftSubject(terms: [1, 1, 3], term: 4)
        let tooFar = subject.step(.append(term: 4, after: (9, 4), [4]), from: 2)
        #expect(
            tooFar.map(\.message) == [
                .appendReply(
                    AppendReply(term: 4, outcome: .rejected(previousIndex: 9, hintIndex: 3, hintTerm: 3)))
            ])
        let otherTerm = subject.step(.append(term: 4, after: (3, 2), [4]), from: 2)
        #expect(
            otherTerm.map(\.message) == [
                .appendReply(
                    AppendReply(term: 4, outcome: .rejected(previousIndex: 3, hintIndex: 2, hintTerm: 1)))
            ])
        #expect(subject.terms == [1, 1, 3])
    }

    @Test("§5.3 a conflicting entry and all that follow give way to the leader's")
    func conflict() {
        var subject = RaftSubject(terms: [1, 1, 2, 2, 2], term: 3)
        #expect(subject.step(.append(term: 3, after: (2, 1), [3]), from: 2).to(2) == [.matched(3, term: 3)])
        #expect(subject.terms == [1, 1, 3])
        #expect(subject.node.disk.entries.map(\.term) == [1, 1, 3])
    }

    @Test("§5.3 a delayed append with a prefix of the log does not truncate it (openraft 9540c904)")
    func delayedShorterAppend() {
        var subject = RaftSubject()
        subject.step(.append(term: 1, after: (1, 1), [1, 1, 1, 1]), from: 2)
        #expect(subject.step(.append(term: 1, after: (1, 1), [1, 1]), from: 2).to(2) == [.matched(5, term: 1)])
        #expect(subject.step(.append(term: 1, after: (1, 1)), from: 2).to(2) == [.matched(5, term: 1)])
        #expect(subject.core.lastIndex == 5)
    }

    @Test("§5.3 an append that starts before the commit index is taken from there on")
    func appendBeforeCommit() {
        var subject = RaftSubject()
        subject.step(.append(term: 1, after: (1, 1), [1, 1], commit: 3), from: 2)
        #expect(subject.core.commit == 3)
        #expect(subject.step(.append(term: 1, after: (0, 0), [1, 1, 1, 1]), from: 2).to(2) == [.matched(4, term: 1)])
        #expect(subject.step(.append(term: 1, after: (0, 0), [1]), from: 2).count == 1)
        #expect(subject.terms == [1, 1, 1, 1])
    }

    @Test("§5.3 a follower acknowledges only what is durable")
    func acknowledgementIsDurable() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        #expect(subject.step(.append(term: 1, after: (1, 1), [1, 1]), from: 2).isEmpty)
        // This one came while the first was being written: it has a write, and an acknowledgement, of its own.
        #expect(subject.step(.append(term: 1, after: (3, 1), [1]), from: 2).isEmpty)
        #expect(subject.persist().to(2) == [.matched(3, term: 1)])
        #expect(subject.persist().to(2) == [.matched(4, term: 1)])
    }

    @Test("§5.3 the completion of an old write never vouches for what replaced its entries (async-append-ABA)")
    func asyncAppendABA() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        subject.step(.append(term: 1, after: (1, 1), [1, 1, 1]), from: 2)
        // Terms 2 and 3 replace them twice while the write is out; the last have the old ones' indexes.
        subject.step(.append(term: 2, after: (2, 1), [2]), from: 3)
        subject.step(.append(term: 3, after: (2, 1), [3, 3], commit: 4), from: 2)
        #expect(subject.core.commit == 4 && subject.core.applicable == 1)
        #expect(!subject.persist().contains { $0.message == .matched(4, term: 3) })
        #expect(subject.core.applicable == 2)
        #expect(subject.persist().contains { $0.message == .matched(4, term: 3) })
        #expect(subject.core.applicable == 4 && subject.node.disk.entries.map(\.term) == [1, 1, 3, 3])
    }

    @Test("§5.3 an acknowledgement promised in an earlier term is not given in a later one")
    func acknowledgementOfEarlierTerm() {
        var subject = RaftSubject()
        subject.holdsDisk = true
        subject.step(.append(term: 2, after: (1, 1), [2]), from: 2)
        subject.step(.heartbeat(3), from: 3)
        let sent = subject.persist() + subject.persist()
        #expect(sent.map(\.message) == [.heartbeatReplyOf(3)])
    }

    // MARK: §5.3 Commit at the follower

    @Test("§5.3 an append commits at most what it verified (etcd-style min of commit and last new index)")
    func commitOfAppend() {
        var subject = RaftSubject(terms: [1, 1, 1, 1])
        subject.step(.append(term: 2, after: (2, 1), commit: 4), from: 2)
        #expect(subject.core.commit == 2)
    }

    @Test("§5.3 a heartbeat's commit never passes what this term's leader has verified")
    func commitOfHeartbeat() {
        var subject = RaftSubject(terms: [1, 1, 1, 1])
        subject.step(.heartbeat(2, commit: 4), from: 2)
        #expect(subject.core.commit == 0)
        subject.step(.append(term: 2, after: (2, 1)), from: 2)
        subject.step(.heartbeat(2, commit: 4), from: 2)
        #expect(subject.core.commit == 2)
        // What an earlier leader verified says nothing of the next one's log.
        subject.step(.append(term: 2, after: (2, 1), [2, 2]), from: 2)
        subject.step(.heartbeat(3, commit: 4), from: 3)
        #expect(subject.core.commit == 2)
    }

    @Test("§5.3 a leader's heartbeat tells each follower no more than it is known to match")
    func heartbeatCommitIsBounded() {
        var subject = RaftSubject()
        subject.elect()
        subject.propose(2)
        subject.match(4, from: 2)
        let heartbeats = subject.tick(5)
        #expect(heartbeats.to(2).compactMap(\.asHeartbeat).map(\.commit) == [4])
        #expect(heartbeats.to(3).compactMap(\.asHeartbeat).map(\.commit) == [0])
    }

    @Test("§5.3 a restart commits again what the hard state says, as far as the log goes")
    func commitAfterRestart() {
        #expect(RaftSubject(terms: [1, 1, 1], commit: 2).core.applicable == 2)
        #expect(RaftSubject(terms: [1, 1, 1], commit: 9).core.applicable == 3)
    }

    @Test("§5.1 the commit index on disk never runs ahead of the entries on disk")
    func savedCommitIsDurable() {
        var subject = RaftSubject(terms: [1, 1, 1, 1])
        subject.holdsDisk = true
        // A new term, a truncation and a commit in one write, of which a crash leaves only the hard state.
        subject.step(.append(term: 2, after: (2, 1), [2, 2], commit: 4), from: 2)
        #expect(subject.core.commit == 4)
        subject.restart(torn: 0)
        #expect(subject.core.term == 2 && subject.terms == [1, 1, 1, 1] && subject.core.commit <= 2)
    }

    // MARK: §5.4.2 Committing entries from previous terms

    @Test("§5.4.2 fig. 8: entries of older terms commit only by a current one")
    func figure8() {
        var subject = RaftSubject(members: 5, terms: [1, 2], term: 3)
        subject.elect(by: [2, 3])
        #expect(subject.terms == [1, 2, 4])
        subject.match(2, from: 2)
        subject.match(2, from: 3)
        subject.match(2, from: 4)
        #expect(subject.core.commit == 0)
        subject.match(3, from: 2)
        subject.match(3, from: 3)
        #expect(subject.core.commit == 3)
    }

    // MARK: Proposals, windows, limits

    @Test("A node that does not lead takes no proposal", arguments: [RaftRole.follower, .preCandidate, .candidate])
    func proposalAtFollower(role: RaftRole) {
        var subject = RaftSubject()
        if role != .follower { subject.campaign() }
        if role == .candidate { subject.step(.vote(2, granted: true, isPreVote: true), from: 2) }
        #expect(subject.core.role == role)
        let sent = subject.input { core in
            let proposed = core.propose([ByteBuffer(string: "x")])
            #expect(proposed == nil)
        }
        #expect(sent.isEmpty && subject.terms == [1])
    }

    @Test("Proposals are refused while too many bytes wait to be committed, and taken again afterwards")
    func uncommittedLimit() {
        var options = RaftOptions()
        options.maxUncommittedBytes = 1_000
        var subject = RaftSubject(options: options)
        subject.elect()
        subject.match(2, from: 2)
        subject.propose(bytes: 1_000)
        #expect(subject.core.unsettledBytes == 1_000 + Entry.headerBytes)
        subject.input { core in
            let refused = core.propose([ByteBuffer(string: "x")])
            #expect(refused == nil)
        }
        subject.match(3, from: 2)
        #expect(subject.core.unsettledBytes == 0)
        subject.propose()
    }

    @Test("The window of appends to a follower is bounded in messages")
    func windowInMessages() {
        var options = RaftOptions()
        options.maxInflightAppends = 3
        var subject = RaftSubject(options: options)
        subject.elect()
        subject.match(2, from: 2)
        var appends: [AppendRequest] = []
        for _ in 0..<10 { appends += subject.propose().filter { $0.to == Names.member(2) }.appends }
        #expect(appends.count == 3 && appends.flatMap(\.entries).map(\.index) == [3, 4, 5])
        // One acknowledgement makes room, and what waited shares the next append.
        appends = subject.match(4, from: 2).appends
        #expect(appends.flatMap(\.entries).map(\.index) == Array(6...12) && appends.count == 1)
    }

    @Test("The window of appends to a follower is bounded in bytes, and so is one append")
    func windowInBytes() {
        var options = RaftOptions()
        options.maxInflightBytes = 10_000
        options.appendBytes = 4_000
        var subject = RaftSubject(options: options)
        subject.elect()
        subject.match(2, from: 2)
        let appends = subject.propose(20, bytes: 1_000).filter { $0.to == Names.member(2) }.appends
        #expect(appends.map(\.entries.count) == [3, 3, 3, 3])
        #expect(subject.match(8, from: 2).appends.map(\.entries.count) == [3, 3])
    }

    @Test("While it probes, a leader has one append out; an answer or the next heartbeat's lets it go on")
    func probing() {
        var subject = RaftSubject()
        subject.elect()
        #expect(subject.propose().appends.isEmpty)
        let again = subject.answerHeartbeat(from: 2)
        #expect(again.appends.map(\.entries.count) == [2])
    }

    @Test("Entries that left the cache are fetched from disk, once asked for, and only in the right place")
    func fetching() {
        var options = RaftOptions()
        options.entryCacheBytes = 100
        var subject = RaftSubject(options: options)
        subject.elect()
        subject.match(2, from: 2)
        for index in 0..<50 {
            subject.propose()
            subject.match(LogIndex(3 + index), from: 2)
        }
        #expect(subject.core.commit == 52)
        #expect(subject.core.cachedEntries(from: 3, through: 4, maxBytes: 10, maxCount: 1) == nil)
        // Member 3 comes back with an empty log: a probe finds out, then the disk is read.
        subject.step(
            .appendReply(AppendReply(term: 2, outcome: .rejected(previousIndex: 1, hintIndex: 0, hintTerm: 0))),
            from: 3)
        subject.match(0, from: 3)
        let fetches = subject.takeFetches()
        #expect(fetches.map(\.from) == [1] && fetches[0].through == 52)
        #expect(subject.propose().to(3).isEmpty && subject.takeFetches().isEmpty)
        let entries = (LogIndex(1)...10).map { subject.node.disk.entry(at: $0)! }
        #expect(subject.input { $0.fetched(Array(entries[1...]), for: Names.member(3)) }.appends.isEmpty)
        #expect(subject.takeFetches().map(\.from) == [1])
        let sent = subject.input { $0.fetched(entries, for: Names.member(3)) }
        #expect(sent.to(3).compactMap(\.asAppend).map(\.entries) == [entries])
        #expect(subject.takeFetches().map(\.from) == [11])
        // An answer that nobody waits for any more.
        subject.input { $0.disconnected(Names.member(3)) }
        #expect(subject.input { $0.fetched(entries, for: Names.member(3)) }.to(3).allSatisfy { $0.asAppend == nil })
    }
}

extension Message {
    fileprivate static func heartbeatReplyOf(_ term: Term) -> Message {
        .heartbeatReply(HeartbeatReply(term: term, round: 0, verified: 0))
    }
}
