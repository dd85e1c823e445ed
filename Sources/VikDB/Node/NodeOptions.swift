import VikWire

/// Times and limits of one node's shell. A plain value.
package struct NodeOptions: Sendable {
    /// Length of a tick. The consensus core knows no other time.
    package var tickMilliseconds = 10
    package var raft = RaftOptions()
    /// How long a write or a read may wait before it is answered with an unknown outcome or a refusal.
    package var requestWaitTicks = 500
    /// Most writes, and most reads, that wait at a time; further ones are refused as overloaded.
    package var maxWaitingWrites = 65_536
    package var maxWaitingReads = 65_536
    /// Writes are refused while this many committed entries wait for the engine.
    package var maxUnappliedEntries: UInt64 = 65_536
    /// The most entries, and about the most bytes, applied in one job.
    package var maxApplyEntries = 1_024
    package var maxApplyBytes = 4 << 20
    /// Bytes of entries applied in a second while the engine asks for a slowdown.
    package var slowedBytesPerSecond = 16 << 20
    /// Gets answered in one job of the read lane.
    package var maxReadsPerJob = 64
    /// How often the commit index is saved, and free space is looked at.
    package var housekeepingTicks = 100
    /// Writes are refused with "disk full" below this much free space, so that what was accepted can still be stored.
    /// Deletes, which make room in the end, are taken down to a quarter of it, the reserve.
    package var minFreeBytes: UInt64 = 64 << 20
    package static let reservePart: UInt64 = 4
    /// Likewise below so many files that the file system may still create.
    package var minFreeFiles: UInt64 = 16
    /// How often the engine is asked to give space back while the disk is short.
    package var spaceTicks: UInt64 = 1_000
    /// How often at most a small memtable is flushed for the sake of its tombstones.
    package var reclaimTicks: UInt64 = 1_000
    /// A write to the log that is out for so long is one too many: the node is not ready. What is committed may wait for
    /// the engine as long, or as long as a request may wait.
    package var writeStallTicks: UInt64 = 200
    /// How long all must be well before a stall counts as over.
    package var stallCalmTicks: UInt64 = 1_000
    /// How soon an operator is told again what the node waits for, and how seldom at last: a minute, and an hour.
    package var reminderTicks: UInt64 = 6_000
    package var maxReminderTicks: UInt64 = 360_000
    /// How long a write may wait for a leader to be known, while one is elected or takes over.
    package var leaderWaitTicks = 120
    /// Of the log that the tables have made needless, the newest entries are kept for slow followers: this many, and no
    /// more than so many bytes of them.
    package var logTailEntries: UInt64 = 100_000
    package var logTailBytes: UInt64 = 64 << 20
    /// What a follower that answers, or is being sent a snapshot, will need next is kept too, until the log has this size.
    package var logRetentionMaxBytes: UInt64 = 1 << 30
    /// Bytes of records a second, before compression, that a snapshot is sent with; nil: as fast as it goes.
    package var snapshotBytesPerSecond: Int?
    /// Where a chunk of a snapshot ends: at the record that reaches this size.
    package var snapshotChunkBytes = WireLimits.targetSnapshotChunkBytes
    /// Chunks of a snapshot that are on their way, or produced ahead.
    package var snapshotWindow = WireLimits.maxSnapshotWindow
    /// A transfer that has not moved for so long is offered again, and for so much longer given up.
    package var snapshotOfferTicks: UInt64 = 100
    package var snapshotPatienceTicks: UInt64 = 6_000

    package init() {}
}
