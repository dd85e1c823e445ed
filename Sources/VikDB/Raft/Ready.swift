import VikWire

/// What RaftCore wants done, taken by the shell after a batch of inputs. Every part may be empty.
package struct Ready: Sendable {
    /// To be written and synced; the shell answers with ``RaftCore/persisted(_:)``. At most one is out at a time, so
    /// everything that arrives meanwhile shares the next sync.
    package var persist: PersistGroup?
    /// To be sent now. What must wait for a sync was held back until its `persisted`.
    package var messages: [Outgoing] = []
    /// Entries that a slow follower needs and the cache no longer has; answered with ``RaftCore/fetched(_:for:)``.
    package var fetches: [FetchRequest] = []
    /// Read indexes confirmed for ``RaftCore/requestReadIndex(_:)``.
    package var confirmedRead: ConfirmedRead?
    /// Members that need entries which this log no longer has; answered with ``RaftCore/snapshotEnded(for:installed:)``.
    package var snapshotsNeeded: [MemberID] = []
    /// Messages of snapshot transfers that passed the core's checks, in order of arrival.
    package var snapshotMessages: [SnapshotMessage] = []
    /// Members whose store is not what it was, as this leader has just found out.
    package var verdicts: [(member: MemberID, finding: StoreVerdict.Finding)] = []
    /// This node led until now: whatever it proposed and had not committed has an unknown outcome.
    package var lostLeadership = false
}

package struct PersistGroup: Sendable {
    /// Increases with each group of this process.
    package let sequence: UInt64
    /// Nil: term and vote did not change.
    package let hardState: HardState?
    /// Consecutive. If the first one's index is not above the log's last, it supersedes all from there on.
    package let entries: [Entry]
}

package struct Outgoing: Sendable {
    package let to: MemberID
    package let message: Message
}

package struct FetchRequest: Sendable {
    package let member: MemberID
    package let from: LogIndex
    package let through: LogIndex
    package let maxBytes: Int
}

/// A message of a snapshot transfer: from the current leader, or, a reply, to it.
package struct SnapshotMessage: Sendable {
    package let from: MemberID
    package let message: Message
}

package struct ConfirmedRead: Sendable {
    package let context: UInt64
    /// The reads of this context see everything acknowledged before they began once this index is applied.
    package let index: LogIndex
}
