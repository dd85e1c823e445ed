import VikWire

/// How much of the log may go. A plain value.
///
/// What the tables hold is not needed any more, but a follower that is a little behind is served from the log, and a
/// snapshot costs far more. So the newest entries stay, and what a follower that answers will ask for next stays until
/// the log has grown past its limit: a receiver whose snapshot is done must find the entry after it, or it would need
/// the next snapshot at once.
struct LogRetention {
    /// The tables hold everything up to here.
    let flushed: LogIndex
    let last: LogIndex
    let tailEntries: UInt64
    /// The first of the entries that the tail has room for in bytes.
    let tailStart: LogIndex
    /// The last entry that no follower needs; nil: they need none, or the log is past its limit.
    let needed: LogIndex?

    /// Everything up to here may go.
    var discardable: LogIndex {
        let tail = max(last - min(last, tailEntries), tailStart - min(tailStart, 1))
        return min(flushed, tail, needed ?? .max)
    }
}
