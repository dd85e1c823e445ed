import VikWire

/// How much of the log may go. A plain value.
///
/// What the tables hold is not needed any more, but a follower that is a little behind is served from the log, and a
/// snapshot costs far more. So the newest entries stay, and what a follower that answers will ask for next stays until
/// the log has grown past its limit: a receiver whose snapshot is done must find the entry after it, or it would need
/// the next snapshot at once.
package struct LogRetention {
    private let flushed: LogIndex
    private let last: LogIndex
    private let tailEntries: UInt64
    private let tailStart: LogIndex
    private let needed: LogIndex?
    private let neededAgain: LogIndex?

    /// - Parameters:
    ///   - flushed: the tables hold everything up to here.
    ///   - tailStart: the first of the entries that the tail has room for in bytes.
    ///   - neededByPeers: the last entry that no follower needs; nil: they need none.
    ///   - neededAgain: the same of those whose snapshot was outrun by the log, whatever its size.
    ///   - logBytes: what the log takes, which, from `maxLogBytes` on, no follower's needs make more.
    package init(
        flushed: LogIndex, last: LogIndex, tailEntries: UInt64, tailStart: LogIndex, neededByPeers: LogIndex?,
        neededAgain: LogIndex? = nil, logBytes: UInt64, maxLogBytes: UInt64
    ) {
        self.flushed = flushed
        self.last = last
        self.tailEntries = tailEntries
        self.tailStart = tailStart
        self.needed = logBytes < maxLogBytes ? neededByPeers : nil
        self.neededAgain = neededAgain
    }

    /// Everything up to here may go.
    package var discardable: LogIndex {
        let tail = max(last - min(last, tailEntries), tailStart - min(tailStart, 1))
        return min(flushed, tail, needed ?? .max, neededAgain ?? .max)
    }
}
