import NIOCore

/// Asks for a vote, or (pre-vote) whether one would be given. Raft §5.2 and dissertation §9.6.
package struct VoteRequest: Equatable, Sendable {
    /// The candidate's term; in a pre-vote the term it would campaign in.
    package var term: Term
    package var isPreVote: Bool
    /// The leader itself asked for this election (dissertation §3.10): it is no disturbance that a leader is heard.
    package var isHandOver: Bool
    /// Index and term of the candidate's last durable entry.
    package var lastIndex: LogIndex
    package var lastTerm: Term

    package init(term: Term, isPreVote: Bool, isHandOver: Bool = false, lastIndex: LogIndex, lastTerm: Term) {
        self.term = term
        self.isPreVote = isPreVote
        self.isHandOver = isHandOver
        self.lastIndex = lastIndex
        self.lastTerm = lastTerm
    }
}

package struct VoteReply: Equatable, Sendable {
    /// Granted: the term asked for. Refused: the voter's own term.
    package var term: Term
    package var isPreVote: Bool
    package var isGranted: Bool

    package init(term: Term, isPreVote: Bool, isGranted: Bool) {
        self.term = term
        self.isPreVote = isPreVote
        self.isGranted = isGranted
    }
}

/// Entries that follow `previousIndex` in the leader's log. Raft §5.3.
package struct AppendRequest: Equatable, Sendable {
    package var term: Term
    package var previousIndex: LogIndex
    package var previousTerm: Term
    /// The leader's commit index. The receiver commits at most what this request has verified to match.
    package var commit: LogIndex
    /// Consecutive, starting at `previousIndex + 1`; may be empty (a probe).
    package var entries: [Entry]

    package init(term: Term, previousIndex: LogIndex, previousTerm: Term, commit: LogIndex, entries: [Entry]) {
        self.term = term
        self.previousIndex = previousIndex
        self.previousTerm = previousTerm
        self.commit = commit
        self.entries = entries
    }
}

package struct AppendReply: Equatable, Sendable {
    package enum Outcome: Equatable, Sendable {
        /// Everything up to here is durable at the follower and equal to the leader's log.
        case matched(LogIndex)
        /// The entry at `previousIndex` was missing or of another term. The hint is the last place where the
        /// follower's log may agree: its index there and the term it has there (0, 0: nothing).
        case rejected(previousIndex: LogIndex, hintIndex: LogIndex, hintTerm: Term)
    }

    package var term: Term
    package var outcome: Outcome

    package init(term: Term, outcome: Outcome) {
        self.term = term
        self.outcome = outcome
    }
}

/// Keeps a leader in office, tells the commit index, and opens a read-index round. Dissertation §6.4.
package struct Heartbeat: Equatable, Sendable {
    package var term: Term
    /// min(commit, what this follower is known to match), because it may overtake appends (design rule 6).
    package var commit: LogIndex
    /// Number of the newest read-index round; the reply confirms this round and all before it.
    package var round: UInt64

    package init(term: Term, commit: LogIndex, round: UInt64) {
        self.term = term
        self.commit = commit
        self.round = round
    }
}

package struct HeartbeatReply: Equatable, Sendable {
    package var term: Term
    package var round: UInt64
    /// How far the sender knows its log to agree with this leader's: after a restart less than what it acknowledged.
    package var verified: LogIndex
    /// The sender's disk is full. Told only to a leader that knows ``HelloFeatures/diskReports``.
    package var isDiskFull: Bool

    package init(term: Term, round: UInt64, verified: LogIndex, isDiskFull: Bool = false) {
        self.term = term
        self.round = round
        self.verified = verified
        self.isDiskFull = isDiskFull
    }
}

/// A follower's reads ask the leader for a read index; one request serves all reads that waited.
package struct ReadIndexRequest: Equatable, Sendable {
    package var term: Term
    /// Chosen by the follower, never used twice by one process.
    package var context: UInt64

    package init(term: Term, context: UInt64) {
        self.term = term
        self.context = context
    }
}

package struct ReadIndexReply: Equatable, Sendable {
    package var term: Term
    package var context: UInt64
    package var index: LogIndex

    package init(term: Term, context: UInt64, index: LogIndex) {
        self.term = term
        self.context = context
        self.index = index
    }
}

/// A leader tells a member that its store is not what it was: it must not vote, nor serve, with it.
package struct StoreVerdict: Equatable, Sendable {
    package enum Finding: Equatable, Sendable {
        /// The store acknowledged everything up to here in this term, and has less.
        case lost(LogIndex)
        /// The store knows an entry to be committed in whose place the leader has one of this term; 0: it has none.
        case contradicted(LogIndex, leaderTerm: Term)
    }

    package var term: Term
    package var finding: Finding

    package init(term: Term, finding: Finding) {
        self.term = term
        self.finding = finding
    }
}

/// A message from one RaftCore to another.
package enum Message: Equatable, Sendable {
    case voteRequest(VoteRequest)
    case voteReply(VoteReply)
    case append(AppendRequest)
    case appendReply(AppendReply)
    case heartbeat(Heartbeat)
    case heartbeatReply(HeartbeatReply)
    case readIndexRequest(ReadIndexRequest)
    case readIndexReply(ReadIndexReply)
    case snapshotOffer(SnapshotOffer)
    case snapshotChunk(SnapshotChunk)
    case snapshotEnd(SnapshotEnd)
    case snapshotReply(SnapshotReply)
    case timeoutNow(TimeoutNow)
    case storeVerdict(StoreVerdict)

    package var term: Term {
        switch self {
        case .voteRequest(let message): message.term
        case .voteReply(let message): message.term
        case .append(let message): message.term
        case .appendReply(let message): message.term
        case .heartbeat(let message): message.term
        case .heartbeatReply(let message): message.term
        case .readIndexRequest(let message): message.term
        case .readIndexReply(let message): message.term
        case .snapshotOffer(let message): message.term
        case .snapshotChunk(let message): message.term
        case .snapshotEnd(let message): message.term
        case .snapshotReply(let message): message.term
        case .timeoutNow(let message): message.term
        case .storeVerdict(let message): message.term
        }
    }
}

/// The type byte of a frame.
package enum MessageType: UInt8, Sendable, CaseIterable {
    case hello = 1
    case helloReply = 2
    /// The proof that both sides know the cluster's secret, before anything else.
    case authenticationChallenge = 3
    case authenticationReply = 4
    case authenticationProof = 5
    case voteRequest = 16
    case voteReply = 17
    case append = 18
    case appendReply = 19
    case heartbeat = 20
    case heartbeatReply = 21
    case readIndexRequest = 22
    case readIndexReply = 23
    case snapshotOffer = 32
    case snapshotChunk = 33
    case snapshotReply = 34
    case snapshotEnd = 35
    /// A node that is to become a member asks who it is, in place of a Hello.
    case joinRequest = 48
    case joinReply = 49
    case timeoutNow = 50
    /// Sent only to who understands it.
    case storeVerdict = 56
}
