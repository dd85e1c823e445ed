import Testing
import VikDB
import VikTestSupport
import VikWire

/// What no member says that keeps to Raft is refused before it changes anything.
@Suite struct PeerViolationTests {
    /// Everything that a core shows of itself.
    private struct Picture: Equatable {
        let term: Term
        let vote: MemberID
        let role: RaftRole
        let leader: MemberID?
        let commit: LogIndex
        let terms: [Term]
        let progress: [RaftCore.PeerProgress]
        let isReadPending: Bool

        init(_ subject: RaftSubject) {
            let core = subject.core
            term = core.term
            vote = subject.vote
            role = core.role
            leader = core.leader
            commit = core.commit
            terms = subject.terms
            progress = core.progressOfPeers
            isReadPending = core.isReadPending
        }
    }

    private static func expect(
        _ violation: PeerViolation, of message: Message, from: Int = 3, _ subject: inout RaftSubject,
        at location: SourceLocation = #_sourceLocation
    ) {
        let before = Picture(subject)
        // Said twice it is no better.
        for _ in 0..<2 {
            #expect(subject.refusal(of: message, from: from) == violation, sourceLocation: location)
            #expect(Picture(subject) == before, sourceLocation: location)
        }
    }

    private static func leadersMessages(_ term: Term) -> [Message] {
        [
            .heartbeat(term), .append(term: term, after: (1, 1), [term]), .append(term: term, after: (0, 0)),
            .timeoutNow(term), .readIndexReply(ReadIndexReply(term: term, context: 1, index: 1)),
            .snapshotOffer(SnapshotOffer(term: term, transfer: 1, index: 90, indexTerm: term, estimatedBytes: 1)),
            .snapshotEnd(
                SnapshotEnd(term: term, transfer: 1, chunks: 1, records: 1, rawBytes: 99, checksum: 0)),
        ]
    }

    @Test func aSecondLeaderAtAFollower() {
        var subject = RaftSubject(terms: [1, 1])
        subject.step(.heartbeat(2), from: 2)
        for message in Self.leadersMessages(2) {
            Self.expect(.secondLeader(term: 2, leader: Names.member(2)), of: message, &subject)
        }
        // The one of a later term is no second one.
        subject.step(.heartbeat(3), from: 3)
        #expect(subject.core.leader == Names.member(3))
    }

    @Test func aSecondLeaderAtTheLeader() {
        var subject = RaftSubject.leader()
        for message in Self.leadersMessages(2) {
            Self.expect(.secondLeader(term: 2, leader: Names.member(1)), of: message, &subject)
        }
        #expect(subject.core.isLeader)
    }

    /// Dropped entries, the previous one and those that would be appended are all looked at.
    @Test(arguments: [2, 3] as [Term])
    func aLeaderWithoutWhatIsCommitted(term: Term) {
        var subject = RaftSubject(terms: [1, 1, 2, 2])
        subject.step(.append(term: 2, after: (4, 2), commit: 3), from: 2)
        #expect(subject.core.commit == 3)
        let sender = term == 2 ? 2 : 3
        for message: Message in [
            .append(term: term, after: (2, 1), [1]), .append(term: term, after: (3, 1)),
            .append(term: term, after: (3, 1), [2]), .append(term: term, after: (1, 1), [1, 1, 1]),
            .append(term: term, after: (2, 1), [1, 1, 1, 1]),
            .snapshotOffer(SnapshotOffer(term: term, transfer: 1, index: 3, indexTerm: 1, estimatedBytes: 1)),
        ] {
            Self.expect(.contradictsCommitted(3, leaderTerm: 1), of: message, from: sender, &subject)
        }
    }

    @Test func aLeaderThatTakesBackWhatItSent() {
        var subject = RaftSubject(terms: [1])
        subject.step(.append(term: 3, after: (1, 1), [2, 2, 3]), from: 2)
        for message: Message in [
            .append(term: 3, after: (1, 1), [3]), .append(term: 3, after: (2, 1), [3]),
            .snapshotOffer(SnapshotOffer(term: 3, transfer: 1, index: 2, indexTerm: 3, estimatedBytes: 1)),
        ] {
            Self.expect(.takesBack(2, term: 3), of: message, from: 2, &subject)
        }
        // The next leader may.
        subject.step(.append(term: 4, after: (1, 1), [4]), from: 3)
        #expect(subject.terms == [1, 4])
    }

    @Test(arguments: [6, 1_000, WireLimits.maxIndex - 1, WireLimits.maxIndex] as [LogIndex])
    func entriesThatTheLeaderNeverHad(index: LogIndex) {
        var subject = RaftSubject.leader()
        #expect(subject.core.lastIndex == 5)
        let violation = PeerViolation.acknowledgesUnknown(index, last: 5)
        Self.expect(violation, of: .matched(index, term: 2), &subject)
        Self.expect(
            violation, of: .heartbeatReply(HeartbeatReply(term: 2, round: 0, verified: index)), &subject)
        Self.expect(
            violation, of: .snapshotReply(SnapshotReply(term: 2, transfer: 1, outcome: .installed(index))), &subject)
        Self.expect(
            .rejectsUnknown(index, last: 5),
            of: .appendReply(
                AppendReply(term: 2, outcome: .rejected(previousIndex: index, hintIndex: 1, hintTerm: 1))), &subject)
        // Of a later term it says nothing of this leader's log.
        subject.step(.matched(index, term: 3), from: 3)
        #expect(!subject.core.isLeader)
    }

    @Test(arguments: [1, 1 << 62] as [UInt64])
    func aRoundThatHasNotBegun(round: UInt64) {
        var subject = RaftSubject.leader()
        Self.expect(
            .confirmsUnknown(round: round, newest: 0),
            of: .heartbeatReply(HeartbeatReply(term: 2, round: round, verified: 5)), &subject)
    }

    /// The commit index stays behind a snapshot that is being installed, whatever its sender says meanwhile.
    @Test func theCommitStandsStillDuringAnInstallation() {
        var subject = RaftSubject(terms: [1, 1])
        subject.step(.append(term: 2, after: (2, 1), [2, 2, 2]), from: 2)
        subject.input { $0.beginInstalling() }
        subject.step(.heartbeat(2, commit: 5), from: 2)
        let configuration = IndexedConfiguration(index: 1, configuration: Names.configuration(3))
        subject.finishInstalling(through: 4, term: 1, configuration)
        #expect(subject.core.commit == 4 && subject.core.lastIndex == 4)
    }

    /// Any message with any integers, from anybody, twice, and to any role: refused, or taken, but never the end.
    @Test(arguments: Seeds.list(200))
    func nothingThatAMemberSaysIsTheEnd(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var options = RaftOptions()
        options.electionTicks = 10...20
        options.heartbeatTicks = 2
        var subject = RaftSubject(
            members: 3, terms: [1, 1, 1, 2], commit: .random(in: 0...4, using: &random), options: options, seed: seed)
        var late: [Message] = []
        for _ in 0..<200 {
            subject.holdsDisk = Bool.random(using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0: subject.tick(Int.random(in: 1...12, using: &random))
            case 1: subject.persist()
            case 2 where subject.core.isLeader && !subject.core.isHandingOver: subject.propose()
            case 3: _ = subject.read()
            default:
                let honest = Self.honest(subject, using: &random)
                let forged = ForgedMessages.random(honest, using: &random) ?? honest
                late.append(forged)
                let message = Bool.random(using: &random) ? forged : late.randomElement(using: &random)!
                let commit = subject.core.commit
                for _ in 0..<Int.random(in: 1...2, using: &random) {
                    _ = subject.refusal(of: message, from: Int.random(in: 2...3, using: &random))
                }
                #expect(subject.core.commit >= commit && subject.core.commit <= subject.core.lastIndex, "seed \(seed)")
            }
        }
    }

    /// What a member might say now.
    private static func honest(_ subject: RaftSubject, using random: inout SplitMix64) -> Message {
        let core = subject.core
        let term = max(1, core.term + (Bool.random(using: &random) ? 0 : 1))
        let place = LogIndex.random(in: core.baseIndex...core.lastIndex, using: &random)
        let placeTerm = core.termOfEntry(at: place) ?? 0
        let index = max(1, place)
        switch Int.random(in: 0..<13, using: &random) {
        case 0:
            return .voteRequest(term + 1, last: (place, placeTerm), isPreVote: .random(using: &random))
        case 1: return .vote(term, granted: .random(using: &random), isPreVote: .random(using: &random))
        case 2, 3:
            return .append(
                term: term, after: (place, placeTerm),
                Array(repeating: max(placeTerm, 1), count: .random(in: 0...3, using: &random)), commit: place)
        case 4: return .matched(place, term: term)
        case 5:
            return .appendReply(
                AppendReply(
                    term: term,
                    outcome: .rejected(
                        previousIndex: place + 1, hintIndex: place, hintTerm: placeTerm)))
        case 6: return .heartbeat(term, commit: place, round: 1)
        case 7: return .heartbeatReply(HeartbeatReply(term: term, round: 0, verified: place))
        case 8: return .readIndexRequest(ReadIndexRequest(term: term, context: 1))
        case 9: return .readIndexReply(ReadIndexReply(term: term, context: 1, index: place))
        case 10: return .timeoutNow(term)
        case 11:
            return .snapshotOffer(
                SnapshotOffer(
                    term: term, transfer: 1, index: index, indexTerm: max(1, placeTerm), estimatedBytes: 100))
        default:
            return .snapshotReply(SnapshotReply(term: term, transfer: 1, outcome: .installed(index)))
        }
    }
}
