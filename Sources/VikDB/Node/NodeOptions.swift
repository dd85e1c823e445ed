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
    /// Gets answered in one job of the read lane.
    package var maxReadsPerJob = 64
    /// How often the commit index is saved, and free space is looked at.
    package var housekeepingTicks = 100
    /// Writes are refused with "disk full" below this much free space, so that what was accepted can still be stored.
    package var minFreeBytes: UInt64 = 64 << 20

    package init() {}
}
