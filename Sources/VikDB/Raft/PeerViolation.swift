import VikWire

/// A well-formed message that no member sends which keeps to Raft: its sender, or somebody before it, is not what it
/// should be. It is refused before it changes anything, and the connection that it came on ends; the node goes on.
package enum PeerViolation: Error, Equatable, Sendable {
    /// What only the leader of `term` sends, from another member than the leader that this node knows, or is.
    case secondLeader(term: Term, leader: MemberID)
    /// A leader's log has another entry here than the one that is committed.
    case contradictsCommitted(LogIndex, leaderTerm: Term)
    /// A leader's log has another entry here than the one that it sent in the same term.
    case takesBack(LogIndex, term: Term)
    /// A follower has entries that this leader never had.
    case acknowledgesUnknown(LogIndex, last: LogIndex)
    /// A follower rejects an append that this leader cannot have sent.
    case rejectsUnknown(LogIndex, last: LogIndex)
    /// A follower confirms a read-index round that has not begun.
    case confirmsUnknown(round: UInt64, newest: UInt64)
    /// A leader's read index is lower than the one that it gave before.
    case readIndexWentBack(from: LogIndex, to: LogIndex)
    /// A chunk of a snapshot further ahead of what was taken in than the window is wide.
    case chunkBeyondWindow(sequence: UInt64, takenIn: UInt64)
    /// The receiver of a snapshot wants a chunk that there is not, or not yet.
    case wantsUnknownChunk(sequence: UInt64, next: UInt64)

    /// The same for every message of one kind, so that a repetition can be told.
    package enum Cause: Hashable, Sendable, CaseIterable {
        case secondLeader
        case contradictsCommitted
        case takesBack
        case acknowledgesUnknown
        case rejectsUnknown
        case confirmsUnknown
        case readIndexWentBack
        case chunkBeyondWindow
        case wantsUnknownChunk
    }

    package var cause: Cause {
        switch self {
        case .secondLeader: .secondLeader
        case .contradictsCommitted: .contradictsCommitted
        case .takesBack: .takesBack
        case .acknowledgesUnknown: .acknowledgesUnknown
        case .rejectsUnknown: .rejectsUnknown
        case .confirmsUnknown: .confirmsUnknown
        case .readIndexWentBack: .readIndexWentBack
        case .chunkBeyondWindow: .chunkBeyondWindow
        case .wantsUnknownChunk: .wantsUnknownChunk
        }
    }

    /// Whether it proves that somewhere a vote or an acknowledged entry was lost, rather than that one message is wrong.
    package var isProofOfLoss: Bool {
        switch self {
        case .secondLeader, .contradictsCommitted, .acknowledgesUnknown: true
        case .takesBack, .rejectsUnknown, .confirmsUnknown, .readIndexWentBack, .chunkBeyondWindow,
            .wantsUnknownChunk:
            false
        }
    }
}

extension PeerViolation: CustomStringConvertible {
    package var description: String {
        switch self {
        case .secondLeader(let term, let leader):
            "it leads in term \(term), in which \(leader) was elected: somebody voted twice"
        case .contradictsCommitted(let index, _):
            "it leads with another entry \(index) than the one that is committed here"
        case .takesBack(let index, let term):
            "it replaces entry \(index), which it sent itself in term \(term)"
        case .acknowledgesUnknown(let index, let last):
            "it has entries up to \(index) of this leader's log, which ends with \(last)"
        case .rejectsUnknown(let index, let last):
            "it rejects an append after entry \(index), this leader's log ends with \(last)"
        case .confirmsUnknown(let round, let newest):
            "it confirms read round \(round), the newest one is \(newest)"
        case .readIndexWentBack(let before, let after): "its read index fell from \(before) to \(after)"
        case .chunkBeyondWindow(let sequence, let takenIn):
            "it sends chunk \(sequence) of a snapshot of which \(takenIn) are taken in, at most "
                + "\(WireLimits.maxSnapshotWindow) may be on their way"
        case .wantsUnknownChunk(let sequence, let next):
            "it wants chunk \(sequence) of a snapshot of which \(next) comes next"
        }
    }
}

/// What of a message can be judged by this node's own state.
extension RaftCore {
    /// Why no member that keeps to Raft sends `message`, which is of this node's term or a later one; nil: one may have.
    ///
    /// All that the handlers of messages take for granted is looked for here, before the first of them changes anything.
    func violation(of message: Message, from: MemberID) -> PeerViolation? {
        switch message {
        case .voteRequest, .voteReply, .readIndexRequest: nil
        case .heartbeat, .readIndexReply, .timeoutNow, .snapshotChunk, .snapshotEnd, .storeVerdict:
            secondLeader(message.term, from)
        case .append(let request): secondLeader(request.term, from) ?? contradiction(in: request)
        case .snapshotOffer(let offer):
            secondLeader(offer.term, from) ?? contradiction(at: offer.index, of: offer.indexTerm, in: offer.term)
        case .appendReply(let reply):
            switch reply.outcome {
            case .matched(let index): unknownEntry(index, reply.term)
            case .rejected(let index, _, _):
                leads(in: reply.term) && index > log.lastIndex
                    ? .rejectsUnknown(index, last: log.lastIndex) : nil
            }
        case .heartbeatReply(let reply): unknownRound(reply) ?? unknownEntry(reply.verified, reply.term)
        case .snapshotReply(let reply):
            if case .installed(let index) = reply.outcome { unknownEntry(index, reply.term) } else { nil }
        }
    }

    private func leads(in messageTerm: Term) -> Bool { role == .leader && messageTerm == term }

    /// A term has one leader, and only it sends messages of a leader in that term.
    private func secondLeader(_ messageTerm: Term, _ sender: MemberID) -> PeerViolation? {
        guard messageTerm == term, let leader, leader != sender else { return nil }
        return .secondLeader(term: term, leader: leader)
    }

    /// A leader's log holds all that is committed, and in its term it only grows.
    private func contradiction(in request: AppendRequest) -> PeerViolation? {
        let settled = settled(in: request.term)
        guard request.previousIndex <= settled else { return nil }
        if let violation = contradiction(at: request.previousIndex, of: request.previousTerm, in: request.term) {
            return violation
        }
        for entry in request.entries.prefix(while: { $0.index <= settled }) {
            if let violation = contradiction(at: entry.index, of: entry.term, in: request.term) { return violation }
        }
        return nil
    }

    private func contradiction(at index: LogIndex, of entryTerm: Term, in messageTerm: Term) -> PeerViolation? {
        guard index <= settled(in: messageTerm), let own = log.term(at: index), own != entryTerm else { return nil }
        return index <= commit
            ? .contradictsCommitted(index, leaderTerm: entryTerm) : .takesBack(index, term: messageTerm)
    }

    /// Up to here this node's log agrees with that of any leader of `messageTerm`.
    private func settled(in messageTerm: Term) -> LogIndex {
        messageTerm == term ? max(commit, verified) : commit
    }

    private func unknownEntry(_ index: LogIndex, _ messageTerm: Term) -> PeerViolation? {
        leads(in: messageTerm) && index > log.lastIndex
            ? .acknowledgesUnknown(index, last: log.lastIndex) : nil
    }

    private func unknownRound(_ reply: HeartbeatReply) -> PeerViolation? {
        guard let leading, leads(in: reply.term), reply.round > leading.roundCount else { return nil }
        return .confirmsUnknown(round: reply.round, newest: leading.roundCount)
    }
}
