import VikWire

/// The segments of the live log, oldest first, and what says where the log may start instead. A plain value.
struct LiveSegments {
    private struct Segment {
        let number: UInt32
        let size: UInt32
        /// The entry that its first record follows; nil without a record, and if that record supersedes a part of what
        /// came before: the term of the entry before it is not at hand then.
        var base: LogBase?
        /// The lowest index that any of its records starts with.
        var lowest = LogIndex.max
        /// Where its records end.
        var end = LogSegment.headerBytes
    }

    private var segments: [Segment] = []

    var bytesOnDisk: UInt64 { segments.reduce(0) { $0 + UInt64($1.size) } }

    func contains(_ number: UInt32) -> Bool {
        guard let oldest = segments.first?.number else { return false }
        return number >= oldest && number - oldest < segments.count
    }

    /// Bytes of a segment that is live.
    func size(of number: UInt32) -> UInt32 {
        segments[Int(number - segments[0].number)].size
    }

    /// Adds the segment after the newest one.
    mutating func append(_ number: UInt32, size: UInt32) {
        segments.append(Segment(number: number, size: size))
    }

    /// Takes note of a record in the newest segment; its entries start at `first`, those before it end with `last`.
    mutating func addRecord(startingAt first: LogIndex, after last: LogBase, end: UInt32) {
        let newest = segments.count - 1
        if segments[newest].lowest == .max, first == last.index + 1 { segments[newest].base = last }
        segments[newest].lowest = min(segments[newest].lowest, first)
        segments[newest].end = end
    }

    /// Removes the segments before `oldest`.
    mutating func removeAll(before oldest: UInt32) -> [(number: UInt32, size: UInt32)] {
        let removed = segments.prefix { $0.number < oldest }
        segments.removeFirst(removed.count)
        return removed.map { ($0.number, $0.size) }
    }

    /// The newest segment that the log may start with if it needs no entry through `limit`, and the entry that the log
    /// follows then.
    ///
    /// Reading the records from a segment on gives the same entries as reading all records, less those through its
    /// base, if none of these records starts at or before the base: one that does supersedes the base itself, or needs
    /// entries before it.
    func newestStart(through limit: LogIndex) -> (segment: UInt32, base: LogBase)? {
        var lowest = LogIndex.max
        for segment in segments.reversed() {
            lowest = min(lowest, segment.lowest)
            if let base = segment.base, base.index <= limit, base.index < lowest { return (segment.number, base) }
        }
        return nil
    }

    /// The lowest index in as many of the newest segments as have at least `bytes` of records, in a log that ends with
    /// `lastIndex`.
    ///
    /// A start with a base below that index keeps all these segments: none of their records starts before the index, so
    /// since the first of them the log has never ended before it, and a segment that came later has no lower base.
    func firstIndex(keepingBytes bytes: Int, lastIndex: LogIndex) -> LogIndex {
        var first = lastIndex + 1
        var kept = 0
        for segment in segments.reversed() {
            if kept >= bytes { break }
            kept += Int(segment.end - LogSegment.headerBytes)
            first = min(first, segment.lowest)
        }
        return first
    }
}
