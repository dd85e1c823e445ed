import VikWire

/// Timing in ticks, windows and limits of one RaftCore. A plain value.
package struct RaftOptions: Sendable {
    /// A follower campaigns after a random number of ticks in this range without hearing from a leader; a leader that
    /// hears from no majority for the lower bound steps down.
    package var electionTicks: ClosedRange<Int> = 30...60
    package var heartbeatTicks = 5
    /// A store that has been used and is not the one on record for its member is recorded only once that has been silent
    /// for so long: a hundred of the longest election timeouts. That is longer than a machine takes to start again, whose
    /// place an old one must not take meanwhile; and not too long for a disk that is back after it was away at one start,
    /// because the cluster has one member less until then.
    package var usedStorePatienceTicks: UInt64 = 6_000
    /// The window of appends sent to one follower ahead of its acknowledgements.
    package var maxInflightAppends = 256
    package var maxInflightBytes = 16 << 20
    /// Target for the entry bytes of one append.
    package var appendBytes = 256 << 10
    /// Proposals are refused while this many bytes wait to be committed.
    package var maxUncommittedBytes = 64 << 20
    /// How many entries a learner may lack and still become a voter.
    package var maxPromotionLag: UInt64 = 1_024
    /// Durable and committed entries kept in memory for followers that are a little behind.
    package var entryCacheBytes = 32 << 20

    package init() {}
}
