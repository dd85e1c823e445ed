import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// A proven member that sends what no member sends: its connection ends, the node goes on.
@Suite struct HostileMemberTests {
    private static func follower() throws -> ShellHarness {
        let node = try ShellHarness(members: 3)
        if node.core.lastIndex == 0 { node.step(node.firstAppend, from: 2) }
        node.run(.log, .apply)
        return node
    }

    @Test func aSecondLeaderIsRefused() throws {
        let node = try Self.follower()
        for _ in 0..<3 { node.step(.heartbeat(1), from: 3) }
        #expect(node.peers.refused.map(\.member) == Array(repeating: ShellHarness.member(3), count: 3))
        #expect(node.core.leader == ShellHarness.member(2) && node.failure == nil)
        // Each connection ends, one line says so.
        #expect(node.detailedLines.count { $0.contains("broke Raft's rules") } == 1, "\(node.detailedLines)")
        #expect(node.counters.peerViolations == 3)
    }

    @Test func aLeadersMessageInTheLeadersOwnTerm() throws {
        let node = try ShellHarness(members: 3)
        node.elect()
        node.step(.heartbeat(node.core.term), from: 3)
        #expect(node.peers.refused.map(\.member) == [ShellHarness.member(3)])
        #expect(node.core.isLeader)
        let line = try #require(node.detailedLines.first { $0.contains("broke Raft's rules") })
        // Both names.
        #expect(line.contains("node3") && line.contains("node1"), "\(line)")
    }

    /// A read index that no log has holds up the reads that got it, and no others.
    @Test func aReadIndexBeyondAnyLog() throws {
        let node = try Self.follower()
        func ask() throws -> (token: UInt64, context: UInt64) {
            _ = node.peers.take(to: 2)
            let token = node.get()
            node.run(.log)
            let context = try #require(
                node.peers.take(to: 2).compactMap {
                    if case .readIndexRequest(let request) = $0 { request.context } else { nil }
                }.last)
            return (token, context)
        }
        func answer(_ context: UInt64, _ index: LogIndex) {
            node.step(.readIndexReply(ReadIndexReply(term: 1, context: context, index: index)), from: 2)
            node.run(.log, .apply, .read)
        }
        node.step(.append(term: 1, after: (1, 1), commit: 1), from: 2)
        node.run(.log, .apply)
        let first = try ask()
        answer(first.context, WireLimits.maxIndex)
        let second = try ask()
        answer(second.context, 1)
        #expect(node.peers.refused.map(\.member) == [ShellHarness.member(2)])
        #expect(node.outcome(of: second.token) != nil && node.outcome(of: first.token) == nil)
        let third = try ask()
        answer(third.context, 1)
        #expect(node.outcome(of: third.token) != nil)
        node.waitInVain()
        guard case .notAnswered(.behind)? = node.outcome(of: first.token) else {
            Issue.record("\(String(describing: node.outcome(of: first.token)))")
            return
        }
        #expect(node.failure == nil)
    }

    /// What members may say to a shell, forged, twice, late, and to every role; with jobs in between.
    @Test(arguments: Seeds.list(60))
    func nothingThatAMemberSaysIsTheEnd(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let node = try ShellHarness(members: 3)
        // A follower, a candidate, a leader.
        switch seed % 3 {
        case 0: node.step(node.firstAppend, from: 2)
        case 1: while node.core.role == .follower { node.tick() }
        default: node.elect()
        }
        var messages: [Message] = []
        for _ in 0..<150 {
            let commit = node.core.commit
            switch Int.random(in: 0..<8, using: &random) {
            case 0: node.tick(Int.random(in: 1...20, using: &random))
            case 1: node.run(.log, .apply, .read)
            case 2: node.run(.snapshot, .background, .log)
            case 3: _ = node.core.isLeader ? node.put([1]) : node.get()
            default:
                let honest = Self.honest(node, using: &random)
                messages.append(ForgedMessages.random(honest, using: &random) ?? honest)
                // The newest as a rule, or a late one.
                let message =
                    Int.random(in: 0..<4, using: &random) > 0 ? messages.last! : messages.randomElement(using: &random)!
                for _ in 0..<Int.random(in: 1...2, using: &random) {
                    let sender = Int.random(in: 2...3, using: &random)
                    // A leader without what is committed here is proof of a loss, and the one thing that stops a node.
                    if !Self.contradictsCommitted(message, from: sender, node) { node.step(message, from: sender) }
                }
            }
            #expect(node.failure == nil, "VIK_SEED=\(seed)")
            #expect(node.core.commit >= commit && node.core.commit <= node.core.lastIndex, "VIK_SEED=\(seed)")
        }
        node.run(.log, .apply, .read, .snapshot, .background)
        node.waitInVain()
        #expect(node.failure == nil, "VIK_SEED=\(seed)")
    }

    private static func contradictsCommitted(_ message: Message, from sender: Int, _ node: ShellHarness) -> Bool {
        var core = node.core
        do throws(PeerViolation) {
            try core.step(message, from: ShellHarness.member(sender), store: ShellHarness.store(sender))
        } catch {
            return error.cause == .contradictsCommitted
        }
        return false
    }

    private static func honest(_ node: ShellHarness, using random: inout SplitMix64) -> Message {
        let core = node.core
        let term = max(1, core.term + (Int.random(in: 0..<8, using: &random) > 0 ? 0 : 1))
        let place = LogIndex.random(in: core.baseIndex...core.lastIndex, using: &random)
        let placeTerm = core.termOfEntry(at: place) ?? 0
        // Few transfers, so that parts meet.
        let transfer = UInt64.random(in: 1...2, using: &random)
        let sent = SentSnapshot(transfer, term: term, index: core.lastIndex + 3, value: [1], node.configuration)
        switch Int.random(in: 0..<16, using: &random) {
        case 0: return .voteRequest(term + 1, last: (place, placeTerm), isPreVote: .random(using: &random))
        case 1: return .vote(term, granted: .random(using: &random), isPreVote: .random(using: &random))
        case 2, 3:
            let command = Command.put(key: [1], value: [2])
            return .append(
                AppendRequest(
                    term: term, previousIndex: place, previousTerm: placeTerm, commit: place,
                    entries: Entry.batch(
                        from: place + 1, term: max(1, placeTerm), kind: .command,
                        payloads: Array(repeating: command, count: .random(in: 0...3, using: &random)))))
        case 4:
            let entry = Entry(
                index: place + 1, term: max(1, placeTerm), kind: .configuration, payload: node.configuration.encoded())
            return .append(
                AppendRequest(
                    term: term, previousIndex: place, previousTerm: placeTerm, commit: place, entries: [entry]))
        case 5: return .matched(place, term: term)
        case 6:
            return .appendReply(
                AppendReply(
                    term: term,
                    outcome: .rejected(previousIndex: place + 1, hintIndex: place, hintTerm: placeTerm)))
        case 7: return .heartbeat(term, commit: place, round: 1)
        case 8: return .heartbeatReply(HeartbeatReply(term: term, round: 0, verified: place))
        case 9: return .readIndexRequest(ReadIndexRequest(term: term, context: 1))
        case 10: return .readIndexReply(ReadIndexReply(term: term, context: 1, index: place))
        case 11: return .timeoutNow(term)
        case 12: return .snapshotOffer(sent.offer)
        case 13: return .snapshotChunk(sent.chunks.randomElement(using: &random)!)
        case 14: return .snapshotEnd(sent.end)
        default:
            let outcomes: [SnapshotReply.Outcome] = [
                .wants(sequence: .random(in: 1...4, using: &random)), .installed(max(1, place)), .refused,
            ]
            return .snapshotReply(
                SnapshotReply(term: term, transfer: transfer, outcome: outcomes.randomElement(using: &random)!))
        }
    }
}
