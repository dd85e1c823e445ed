import NIOCore
import VikWire

/// The node as its clients see it: the facade between the gateway (or a benchmark) and the node's loop.
///
/// Calls may come from any thread and return at once. Each call carries a token that the caller chose and the sink
/// that its one reply goes to; replies come in batches, so that a busy node wakes a sink once for many.
package protocol KeyValueService: AnyObject, Sendable {
    /// Proposes a ``Command`` (its encoded payload). Never retried by the node.
    func write(_ command: ByteBuffer, token: UInt64, replyTo sink: any ReplySink)
    /// Asks a query.
    func read(_ query: Query, _ consistency: ReadConsistency, token: UInt64, replyTo sink: any ReplySink)
    /// Changes the members or the leader, for an operator.
    func administer(_ request: AdminRequest, token: UInt64, replyTo sink: any ReplySink)
    /// What the node last published about itself; a copy, taken under a short lock.
    var status: NodeStatus { get }
    var counters: NodeCounters { get }
    var metrics: NodeMetrics { get }
}

/// Receives replies, in batches, on the node's own threads. Must return quickly: it hands them on to its own loop.
package protocol ReplySink: AnyObject, Sendable {
    func deliver(_ replies: [Reply])
}

package struct Reply: Sendable {
    package var token: UInt64
    package var outcome: Outcome

    package enum Outcome: Sendable {
        /// Durable on a majority and applied. `version` is the entry's index.
        case written(version: LogIndex, result: CommandResult)
        /// The write is surely not applied; safe to send again.
        case notApplied(Refusal)
        /// The write may or may not take effect, now or later.
        case unknown(UnknownReason)
        /// The query's answer at the applied index `index`.
        case answered(QueryResult, index: LogIndex)
        /// The query was not answered.
        case notAnswered(Refusal)
        /// The change is committed, with the entry at `index`; or another node leads.
        case administered(index: LogIndex)
        /// Nothing was changed.
        case notAdministered(AdminRefusal)
    }

    package init(token: UInt64, outcome: Outcome) {
        self.token = token
        self.outcome = outcome
    }
}

/// Why a request was refused before it had any effect.
package enum Refusal: Equatable, Sendable {
    /// This node does not lead. `leader`: the leader's API address, if one is known.
    case notLeader(leader: String?)
    /// The queue of proposals is full, or the engine is behind; try again later.
    case overloaded
    /// No majority answers, so neither writes nor linearizable reads are possible now.
    case noQuorum
    /// The node's engine is behind; the read waited as long as it may. Of reads alone.
    case behind
    /// The node is joining, recovering or stopping.
    case notReady(String)
    /// The disk is full.
    case diskFull
    /// A file is damaged or a disk failed; the sentence names it.
    case failed(String)
}

package enum UnknownReason: Equatable, Sendable {
    /// The leader lost its office before the entry was committed.
    case leadershipLost
    /// The request waited for its limit.
    case timedOut
    /// The node stopped meanwhile.
    case stopping
}

package enum ReadConsistency: String, Sendable, CaseIterable {
    case linearizable
    case stale
}

package enum Role: String, Sendable {
    case follower
    case candidate
    case leader
    /// Told of a node that hangs; no node has it.
    case unknown
}

/// A snapshot of a node for `/health`, `/cluster/status` and redirects.
package struct NodeStatus: Sendable, Equatable {
    /// False for a cluster of one without `-node-id` and `-cluster`.
    package var isReplicated: Bool
    package var nodeID: String
    package var role: Role
    package var term: Term
    /// The leader's label and API address as far as known; the own ones on the leader.
    package var leaderID: String?
    package var leaderAPIAddress: String?
    package var commitIndex: LogIndex
    package var appliedIndex: LogIndex
    package var lastIndex: LogIndex
    /// The members, as far as this node knows; at the leader with their progress.
    package var members: [MemberStatus] = []
    /// The first entry that the log still has.
    package var firstLogIndex: LogIndex = 1
    /// How much of a snapshot has come in, in percent; nil: none is coming.
    package var incomingSnapshotPercent: Int?
    /// Writes are refused because the disk is full.
    package var isDiskFull = false
    /// A write to the log that does not come back, or committed entries that are not applied, if it has been too long.
    package var diskStall: String?
    package var applyStall: String?
    /// The file that found no room, if the disk showed that it is full by one.
    package var refusedFile: String?
    /// Bytes in memtables, in log segments, and number of tables.
    package var memtableBytes: Int
    package var logBytes: UInt64
    package var tableCount: Int
    /// Why the process cannot go on, if so (a disk failed, a file is damaged).
    package var failure: String?
    /// Why the node cannot serve, if so (waiting for founders, disk lost, log failed).
    package var trouble: String?
    /// When the node's loop last ticked, on ``MonotonicClock``; nil: it is none that ticks by itself.
    package var tickedAt: UInt64?

    package init(
        isReplicated: Bool, nodeID: String, role: Role = .follower, term: Term = 0, leaderID: String? = nil,
        leaderAPIAddress: String? = nil, commitIndex: LogIndex = 0, appliedIndex: LogIndex = 0,
        lastIndex: LogIndex = 0, memtableBytes: Int = 0, logBytes: UInt64 = 0, tableCount: Int = 0,
        trouble: String? = nil
    ) {
        self.isReplicated = isReplicated
        self.nodeID = nodeID
        self.role = role
        self.term = term
        self.leaderID = leaderID
        self.leaderAPIAddress = leaderAPIAddress
        self.commitIndex = commitIndex
        self.appliedIndex = appliedIndex
        self.lastIndex = lastIndex
        self.memtableBytes = memtableBytes
        self.logBytes = logBytes
        self.tableCount = tableCount
        self.trouble = trouble
    }
}
