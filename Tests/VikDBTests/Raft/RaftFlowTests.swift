import NIOCore
import Testing
import VikDB
import VikWire

/// The stream of appends to followers that are slow, silent or far behind, with logs that lose their beginning: what
/// leaves is held against the window at every step, and nothing that was acknowledged or refused is lost.
extension RaftPaperTests {
    /// A leader with a window of two appends of one entry, and its follower, member 3, of which it knows everything up
    /// to entry 5. Member 2 acknowledges all that the leader has.
    private struct Stream {
        var leader: RaftSubject
        var follower: RaftSubject
        var toFollower: [Message] = []
        var toLeader: [Message] = []
        static let window = 2

        init() {
            var options = RaftOptions()
            options.maxInflightAppends = Self.window
            options.appendBytes = 1
            leader = RaftSubject.leader(options: options)
            // Here the follower is member 1 in a test's own numbering, and the leader member 2.
            follower = RaftSubject(terms: [1, 1, 1, 1, 2], term: 2)
        }

        mutating func take(_ sent: [Outgoing]) { toFollower += sent.to(3) }

        mutating func propose() {
            take(leader.propose())
            take(leader.match(leader.core.lastIndex, from: 2))
        }

        mutating func heartbeat() {
            for _ in 0..<leader.core.options.heartbeatTicks {
                take(leader.tick(1))
                leader.answerHeartbeat(from: 2)
            }
        }

        mutating func deliverToFollower() {
            let messages = toFollower
            toFollower = []
            for message in messages { toLeader += follower.step(message, from: 2).to(2) }
        }

        mutating func deliverToLeader() {
            let messages = toLeader
            toLeader = []
            for message in messages { take(leader.step(message, from: 3)) }
            // Old entries come from the disk at once.
            for fetch in leader.takeFetches() {
                let entries = [leader.node.disk.entry(at: fetch.from)!]
                take(leader.input { $0.fetched(entries, for: fetch.member) })
            }
        }

        mutating func settle() {
            for _ in 0..<100 where !(toFollower.isEmpty && toLeader.isEmpty) {
                deliverToFollower()
                deliverToLeader()
            }
        }

        /// Indexes of the entries that are on their way to the follower.
        var onTheWay: [LogIndex] { toFollower.compactMap(\.asAppend).flatMap(\.entries).map(\.index) }
        var probes: [LogIndex] { toFollower.compactMap(\.asAppend).filter(\.entries.isEmpty).map(\.previousIndex) }
        var match: LogIndex { leader.core.progressOfPeers.first { $0.member == Names.member(3) }!.match }
    }

    @Test("A follower that stops answering: its window fills, heartbeats go on, and each answer lets so much follow")
    func pausedStream() {
        var stream = Stream()
        for _ in 0..<5 { stream.propose() }
        // The leader goes on with the others.
        #expect(stream.leader.core.commit == 10 && stream.onTheWay == [6, 7])
        stream.heartbeat()
        stream.heartbeat()
        #expect(stream.onTheWay == [6, 7])
        let heartbeats = stream.toFollower.compactMap(\.asHeartbeat)
        #expect(heartbeats.count == 2 && heartbeats.allSatisfy { $0.commit == 5 }, "no more than it is known to have")

        // One answer, one append.
        let first = stream.toFollower.firstIndex { $0.asAppend?.entries.first?.index == 6 }!
        let append = stream.toFollower.remove(at: first)
        stream.toLeader += stream.follower.step(append, from: 2).to(2)
        stream.deliverToLeader()
        #expect(stream.onTheWay == [7, 8] && stream.match == 6)
        // The same answer once more makes no room.
        stream.take(stream.leader.match(6, from: 3))
        #expect(stream.onTheWay == [7, 8])
        stream.settle()
        #expect(stream.match == 10 && stream.follower.terms == stream.leader.terms)
        // And the window is as wide as before.
        for _ in 0..<4 { stream.propose() }
        #expect(stream.onTheWay == [11, 12])
    }

    @Test("What was in a full window is lost: the next heartbeat's answer finds out, and the stream goes on")
    func lostWindow() {
        var stream = Stream()
        for _ in 0..<4 { stream.propose() }
        #expect(stream.onTheWay == [6, 7])
        stream.toFollower = []
        for _ in 0..<4 { stream.propose() }
        #expect(stream.onTheWay.isEmpty, "the window is full")
        // At most two heartbeats later, because an answer to the first may have crossed an append.
        var rounds = 0
        while stream.probes.isEmpty, rounds < 3 {
            rounds += 1
            stream.heartbeat()
            stream.deliverToFollower()
            stream.deliverToLeader()
        }
        #expect(rounds <= 2 && stream.probes == [7] && stream.onTheWay.isEmpty)
        stream.deliverToFollower()
        #expect(
            stream.toLeader == [
                .appendReply(AppendReply(term: 2, outcome: .rejected(previousIndex: 7, hintIndex: 5, hintTerm: 2)))
            ])
        stream.deliverToLeader()
        #expect(stream.onTheWay == [6], "one append, until its answer")
        stream.deliverToFollower()
        stream.deliverToLeader()
        #expect(stream.onTheWay == [7, 8], "and a whole window after it")
        stream.settle()
        #expect(stream.match == 13 && stream.follower.terms == stream.leader.terms)
        for _ in 0..<4 { stream.propose() }
        #expect(stream.onTheWay == [14, 15])
    }

    @Test("§7 entries of a full window are compacted: a snapshot, then one append, then the stream; nothing is lost")
    func compactedBehindAFullWindow() {
        var stream = Stream()
        for _ in 0..<4 { stream.propose() }
        #expect(stream.onTheWay == [6, 7])
        stream.toFollower = []
        stream.leader.input { $0.compact(through: 8) }
        #expect(stream.leader.core.baseIndex == 8)
        var rounds = 0
        while !stream.leader.core.isInstalling(Names.member(3)), rounds < 5 {
            rounds += 1
            stream.heartbeat()
            stream.deliverToFollower()
            stream.deliverToLeader()
        }
        #expect(stream.leader.takeSnapshotsNeeded() == [Names.member(3)])
        // While it is on its way more is committed, and nothing but heartbeats leaves.
        stream.settle()
        for _ in 0..<3 { stream.propose() }
        stream.heartbeat()
        #expect(stream.toFollower.allSatisfy { $0.asHeartbeat != nil } && stream.leader.core.commit == 12)
        stream.settle()
        // The follower's answer to what came before the snapshot is late.
        stream.take(stream.leader.match(5, from: 3))
        #expect(stream.leader.core.isInstalling(Names.member(3)) && stream.onTheWay.isEmpty)

        let configuration = IndexedConfiguration(index: 1, configuration: Names.configuration(3))
        stream.follower.install(through: 9, term: 2, configuration)
        stream.take(stream.leader.input { $0.snapshotEnded(for: Names.member(3), installed: 9) })
        #expect(stream.onTheWay == [10] && stream.match == 9)
        // It is lost: the next heartbeat's answer sends it again.
        stream.toFollower = []
        stream.heartbeat()
        stream.deliverToFollower()
        stream.deliverToLeader()
        #expect(stream.onTheWay == [10])
        stream.deliverToFollower()
        stream.deliverToLeader()
        #expect(stream.onTheWay == [11, 12])
        stream.settle()
        #expect(stream.match == 12 && stream.follower.core.lastIndex == 12)
        for _ in 0..<4 { stream.propose() }
        #expect(stream.onTheWay == [13, 14], "the window holds nothing of before the snapshot")
        stream.settle()
        stream.heartbeat()
        stream.settle()
        #expect(stream.follower.core.commit == 16 && stream.follower.core.lastIndex == 16)
    }

    @Test("§5.3 a follower whose acknowledgements are lost learns the commit index within two heartbeats")
    func laggingCommit() {
        var stream = Stream()
        stream.propose()
        stream.propose()
        #expect(stream.leader.core.commit == 7)
        // It has both, but the leader does not hear of it, nor it of the commit.
        stream.deliverToFollower()
        #expect(stream.toLeader.count == 2 && stream.follower.core.lastIndex == 7)
        stream.toLeader = []
        let known = stream.follower.core.commit
        #expect(known <= 6)
        // A heartbeat says no more than the leader knows the follower to have: it may have been restarted meanwhile.
        var rounds = 0
        while stream.follower.core.commit < 7, rounds < 5 {
            rounds += 1
            stream.heartbeat()
            #expect(stream.toFollower.compactMap(\.asHeartbeat).allSatisfy { $0.commit <= max(5, stream.match) })
            stream.settle()
        }
        #expect(rounds <= 2 && stream.match == 7)
        // With nothing lost it is the next heartbeat.
        stream.propose()
        stream.settle()
        stream.heartbeat()
        stream.settle()
        #expect(stream.follower.core.commit == 8 && stream.match == 8)
    }

    @Test("§5.3 a leader's heartbeat never commits beyond the follower's own log, however it got ahead")
    func heartbeatAheadOfTheLog() {
        var subject = RaftSubject(terms: [1, 1, 1], term: 2)
        subject.step(.append(term: 2, after: (3, 1), [2]), from: 2)
        subject.step(.heartbeat(2, commit: 900), from: 2)
        #expect(subject.core.commit == 4 && subject.core.applicable == 4)
    }

    @Test("§7 a write from before a snapshot never vouches for entries that came after it (ABA across a snapshot)")
    func abaAcrossASnapshot() {
        var subject = RaftSubject(terms: [1, 1], term: 1)
        subject.holdsDisk = true
        // Entries 3 to 6 of term 1 are being written when a new leader's snapshot comes, which ends with entry 4.
        subject.step(.append(term: 1, after: (2, 1), [1, 1, 1, 1]), from: 2)
        subject.step(.heartbeat(3), from: 3)
        #expect(!subject.core.isLogQuiet, "it may not be installed before both writes are done")
        subject.persist()
        subject.persist()
        #expect(subject.core.isLogQuiet && subject.node.disk.lastIndex == 6)
        subject.input { $0.beginInstalling() }
        let configuration = IndexedConfiguration(index: 1, configuration: Names.configuration(3))
        subject.finishInstalling(through: 4, term: 3, configuration)
        #expect(subject.core.lastIndex == 4 && subject.core.applicable == 4)
        // New entries have the indexes of old ones that were durable.
        let sent = subject.step(.append(term: 3, after: (4, 3), [3, 3], commit: 6), from: 3)
        #expect(!sent.contains { $0.message == .matched(6, term: 3) || $0.message == .matched(5, term: 3) })
        #expect(subject.core.commit == 6 && subject.core.applicable == 4)
        var later: [Outgoing] = []
        while subject.node.pending != nil { later += subject.persist() }
        #expect(later.contains { $0.message == .matched(6, term: 3) })
        #expect(subject.core.applicable == 6 && subject.node.disk.lastIndex == 6)
    }

    @Test("diss. §4.2.1 a learner that was promoted without knowing it votes when it is asked")
    func learnerVotes() {
        let configuration = Names.configuration(3).changing(Names.member(1)) { $0.role = .learner }
        let disk = SimulatedDisk(
            store: Names.store(1), hardState: HardState(term: 1), terms: [1, 1], configuration: configuration)
        for isLeaderKnown in [false, true] {
            var subject = RaftSubject(disk: disk)
            subject.identifyAll()
            if isLeaderKnown {
                subject.step(.heartbeat(1), from: 3)
                #expect(subject.step(.voteRequest(2, last: (3, 1)), from: 2).isEmpty, "it hears a leader")
                subject.tick(60)
            }
            let preVote = subject.step(.voteRequest(2, last: (3, 1), isPreVote: true), from: 2)
            #expect(preVote.to(2) == [.vote(2, granted: true, isPreVote: true)])
            #expect(subject.step(.voteRequest(2, last: (3, 1)), from: 2).to(2) == [.vote(2, granted: true)])
            // Once a term, kept over a restart, and for no shorter log.
            subject.restart()
            #expect(subject.step(.voteRequest(2, last: (3, 1)), from: 3).to(3) == [.vote(2, granted: false)])
            #expect(subject.step(.voteRequest(3, last: (1, 1)), from: 3).to(3) == [.vote(3, granted: false)])
            #expect(subject.tick(300).isEmpty, "it does not stand itself")
        }
    }
}

/// Snapshots and logs that differ.
extension RaftPaperTests {
    @Test("§7 the log went on beyond a snapshot while it was sent: another one is needed at once, and no append leaves")
    func compactedDuringTransfer() {
        var subject = RaftSubject.leader()
        subject.propose(3)
        subject.match(8, from: 2)
        subject.input { $0.compact(through: 7) }
        subject.input { $0.disconnected(Names.member(3)) }
        #expect(subject.takeSnapshotsNeeded() == [Names.member(3)])
        subject.propose(4)
        subject.match(12, from: 2)
        subject.input { $0.compact(through: 12) }
        let sent = subject.input { $0.snapshotEnded(for: Names.member(3), installed: 8) }
        #expect(subject.core.progressOfPeers.first { $0.member == Names.member(3) }?.match == 8)
        // There is no entry after the log's end to ask with; its heartbeat's answer asks.
        #expect(sent.appends.isEmpty)
        let answered = subject.tick(5, answeredBy: [2, 3])
        #expect(answered.to(3).compactMap(\.asAppend).isEmpty)
        #expect(subject.takeSnapshotsNeeded() == [Names.member(3)] && subject.core.isInstalling(Names.member(3)))
        // Its last entry is the log's last one: nothing has to be appended for the member to count as caught up.
        subject.input { $0.snapshotEnded(for: Names.member(3), installed: 12) }
        let probe = subject.answerHeartbeat(from: 3).to(3).compactMap(\.asAppend)
        #expect(probe.map(\.previousIndex) == [12] && probe[0].entries.isEmpty)
        subject.match(12, from: 3)
        #expect(subject.propose().to(3).compactMap(\.asAppend).map(\.previousIndex) == [12])
        #expect(subject.takeSnapshotsNeeded().isEmpty)
    }

    @Test("diss. §3.10 the office goes to a member that needs a snapshot first only once it has the rest too")
    func handOverAfterASnapshot() {
        var subject = RaftSubject.leader()
        subject.propose(3)
        subject.match(8, from: 2)
        subject.input { $0.compact(through: 7) }
        subject.input { $0.disconnected(Names.member(3)) }
        #expect(subject.core.isInstalling(Names.member(3)))
        subject.propose()
        subject.match(9, from: 2)
        #expect(subject.handOver(to: 3) == true)
        #expect(subject.tick(5, answeredBy: [2, 3]).timeoutNows.isEmpty)
        #expect(subject.input { $0.snapshotEnded(for: Names.member(3), installed: 8) }.timeoutNows.isEmpty)
        #expect(subject.match(9, from: 3).timeoutNows == [3])
    }

    /// Every pair of logs of up to five entries of terms 1 to 3 that one cluster can have.
    @Test("§5.3 whatever a follower's log, it becomes the leader's within a round a term")
    func logsBecomeEqual() {
        var logs: [[Term]] = [[1]]
        var all: [[Term]] = []
        while !logs.isEmpty {
            all += logs
            logs = logs.filter { $0.count < 5 }.flatMap { log in (log.last!...3).map { log + [$0] } }
        }
        var pairs = 0
        for leaderLog in all {
            for followerLog in all where Self.canCoexist(leaderLog, followerLog) {
                pairs += 1
                var options = RaftOptions()
                options.appendBytes = 1
                var leader = RaftSubject(terms: leaderLog, term: 3, options: options)
                var follower = RaftSubject(terms: followerLog, term: 3)
                var toFollower = leader.elect().to(3).filter { $0.asAppend != nil }
                var rejections = 0
                for _ in 0..<30 where follower.terms != leader.terms {
                    var replies: [Message] = []
                    for message in toFollower { replies += follower.step(message, from: 2).to(2) }
                    toFollower = []
                    for reply in replies {
                        if case .appendReply(let reply) = reply, case .rejected = reply.outcome { rejections += 1 }
                        toFollower += leader.step(reply, from: 3).to(3)
                    }
                    while let fetch = leader.takeFetches().first {
                        let entries = (fetch.from...fetch.through).map { leader.node.disk.entry(at: $0)! }
                        toFollower += leader.input { $0.fetched(entries, for: fetch.member) }.to(3)
                    }
                }
                #expect(follower.terms == leader.terms, "\(followerLog) to \(leaderLog)")
                let terms = Set(leaderLog).union(followerLog).count
                #expect(rejections <= terms, "\(rejections) for \(followerLog) to \(leaderLog)")
            }
        }
        #expect(pairs > 500)
    }

    /// Entries of one index and term are one entry, and so is all before them (Log Matching).
    private static func canCoexist(_ left: [Term], _ right: [Term]) -> Bool {
        guard let lastEqual = zip(left, right).enumerated().filter({ $0.element.0 == $0.element.1 }).last?.offset else {
            return false
        }
        return Array(left[...lastEqual]) == Array(right[...lastEqual])
    }
}
