import DequeModule
import NIOCore
import VikWire

/// RaftCore's picture of the log: the term of every index, the newest entries themselves, and how much is durable.
///
/// A plain value. Terms are kept as runs, so the picture of a log of any length is small; entries older than the cache
/// are read back from disk by the shell. What was appended since the start and is not yet durable and committed is
/// always cached.
struct RaftLog {
    /// Index and term of the entry before the first one; 0, 0 for a log that starts at 1.
    private(set) var baseIndex: LogIndex
    private(set) var baseTerm: Term
    private var runs: [TermRun]
    private(set) var lastIndex: LogIndex

    private struct Cached {
        let entry: Entry
        /// Bytes of all entries ever cached up to and including this one; differences give the size of any range.
        let endOffset: UInt64
    }
    private var cache: Deque<Cached> = []
    /// Index of the first cached entry; `lastIndex + 1` when the cache is empty.
    private(set) var cacheStart: LogIndex
    private var cachedEnd: UInt64 = 0

    /// Everything up to here was handed to the log store.
    private(set) var emitted: LogIndex
    /// Everything up to here is durable.
    private(set) var stable: LogIndex

    init(baseIndex: LogIndex, baseTerm: Term, lastIndex: LogIndex, runs: [TermRun]) {
        precondition(lastIndex >= baseIndex && (runs.isEmpty == (lastIndex == baseIndex)), "log bounds and runs agree")
        self.baseIndex = baseIndex
        self.baseTerm = baseTerm
        self.runs = runs
        self.lastIndex = lastIndex
        self.cacheStart = lastIndex + 1
        self.emitted = lastIndex
        self.stable = lastIndex
    }

    var lastTerm: Term { runs.last?.term ?? baseTerm }
    var firstIndex: LogIndex { baseIndex + 1 }
    var hasUnemitted: Bool { emitted < lastIndex }

    /// The term of the entry at `index`; nil where this log has no entry (neither does it for a compacted one).
    func term(at index: LogIndex) -> Term? {
        if index == baseIndex { return baseTerm }
        guard index > baseIndex, index <= lastIndex else { return nil }
        return runs[runIndex(of: index)].term
    }

    /// The run that holds `index`, which must be in the log.
    private func runIndex(of index: LogIndex) -> Int {
        var low = 0
        var high = runs.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if runs[middle].firstIndex <= index { low = middle } else { high = middle }
        }
        return low
    }

    /// Whether a log that ends with `index` and `term` is at least as up to date as this one (Raft §5.4.1).
    func isUpToDate(index: LogIndex, term: Term) -> Bool {
        term > lastTerm || (term == lastTerm && index >= lastIndex)
    }

    /// The last place at or before `index` whose term is at most `term`: where two logs may agree at the latest.
    /// Finds the place to retry from in one step a term instead of one an entry (Raft §5.3, end).
    func lastPossibleMatch(index: LogIndex, term: Term) -> (index: LogIndex, term: Term) {
        let start = min(index, lastIndex)
        guard start > baseIndex else { return start == baseIndex ? (baseIndex, baseTerm) : (0, 0) }
        var run = runIndex(of: start)
        if runs[run].term <= term { return (start, runs[run].term) }
        while run > 0 {
            let end = runs[run].firstIndex - 1
            run -= 1
            if runs[run].term <= term { return (end, runs[run].term) }
        }
        return (baseIndex, baseTerm)
    }

    /// Appends entries that directly follow the last one.
    mutating func append(_ entries: some Collection<Entry>) {
        for entry in entries {
            precondition(entry.index == lastIndex + 1, "entries are consecutive")
            precondition(entry.term >= lastTerm, "terms in a log never decrease")
            if entry.term != lastTerm || runs.isEmpty {
                runs.append(TermRun(firstIndex: entry.index, term: entry.term))
            }
            cachedEnd += UInt64(entry.bytes.readableBytes)
            cache.append(Cached(entry: entry, endOffset: cachedEnd))
            lastIndex = entry.index
        }
    }

    /// Drops `index` and all after it; they were never committed.
    mutating func truncate(from index: LogIndex) {
        precondition(index > baseIndex && index <= lastIndex, "truncation stays inside the log")
        if index <= cacheStart {
            cache.removeAll(keepingCapacity: true)
            cacheStart = index
        } else {
            cache.removeLast(Int(lastIndex - index) + 1)
            cachedEnd = cache.last?.endOffset ?? cachedEnd
        }
        lastIndex = index - 1
        while let run = runs.last, run.firstIndex > lastIndex { runs.removeLast() }
        emitted = min(emitted, lastIndex)
        stable = min(stable, lastIndex)
    }

    /// Forgets `index` and all before it: the log store no longer has them, or the state machine replaced them.
    mutating func compact(through index: LogIndex) {
        guard index > baseIndex else { return }
        precondition(index <= stable, "only what is durable is compacted")
        let term = term(at: index)!
        while runs.count > 1, runs[1].firstIndex <= index + 1 { runs.removeFirst() }
        if index == lastIndex { runs.removeAll() } else { runs[0].firstIndex = max(runs[0].firstIndex, index + 1) }
        if cacheStart <= index {
            let dropped = min(cache.count, Int(index - cacheStart) + 1)
            cache.removeFirst(dropped)
            cacheStart = index + 1
        }
        baseIndex = index
        baseTerm = term
    }

    /// What was handed to the log store and is not durable was not written: it will be handed out again.
    mutating func takeBackUnstable() {
        emitted = stable
    }

    /// The entries that the log store has not been given yet; marks them as given.
    mutating func takeUnemitted() -> [Entry] {
        defer { emitted = lastIndex }
        return cachedEntries(from: emitted + 1, count: Int(lastIndex - emitted))
    }

    mutating func markStable(through index: LogIndex) {
        stable = max(stable, min(index, lastIndex))
    }

    /// Entries from `first` on, at most through `last` and about `maxBytes` but at least one; nil if `first` is no
    /// longer cached.
    func entries(from first: LogIndex, through last: LogIndex, maxBytes: Int, maxCount: Int) -> [Entry]? {
        guard first >= cacheStart else { return nil }
        var end = first
        var bytes = 0
        while end <= min(last, lastIndex), end - first < UInt64(maxCount) {
            let size = cache[Int(end - cacheStart)].entry.bytes.readableBytes
            if end > first && bytes + size > maxBytes { break }
            bytes += size
            end += 1
        }
        return cachedEntries(from: first, count: Int(end - first))
    }

    private func cachedEntries(from first: LogIndex, count: Int) -> [Entry] {
        let start = Int(first - cacheStart)
        return cache[start..<start + count].map(\.entry)
    }

    /// Bytes of the cached entries after `index`.
    func cachedBytes(after index: LogIndex) -> Int {
        let start = max(index + 1, cacheStart)
        guard start <= lastIndex else { return 0 }
        let first = cache[Int(start - cacheStart)]
        return Int(cachedEnd - first.endOffset) + first.entry.bytes.readableBytes
    }

    /// Drops the oldest cached entries until `budget` bytes are left, but none after `pinned`.
    mutating func trimCache(to budget: Int, notAfter pinned: LogIndex) {
        let limit = min(pinned, stable)
        var dropped = 0
        while dropped < cache.count, cacheStart + UInt64(dropped) <= limit {
            let startOffset = cache[dropped].endOffset - UInt64(cache[dropped].entry.bytes.readableBytes)
            if cachedEnd - startOffset <= UInt64(budget) { break }
            dropped += 1
        }
        guard dropped > 0 else { return }
        cache.removeFirst(dropped)
        cacheStart += UInt64(dropped)
    }
}
