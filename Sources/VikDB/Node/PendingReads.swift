import DequeModule
import VikWire

/// The reads on their way through a node: gathering for the next read index, waiting for one, waiting for the engine
/// to reach it. A plain value; each stage is in order of arrival, so the oldest is always in front.
struct PendingReads {
    struct Pending: Sendable {
        let query: Query
        let deadline: UInt64
        let token: UInt64
        let sink: any ReplySink
    }

    private struct Confirmed {
        let index: LogIndex
        var reads: Deque<Pending>
    }

    private var gathering: Deque<Pending> = []
    private var asking: Deque<Pending> = []
    private var confirmed: Deque<Confirmed> = []
    /// Their indexes never decrease, as they do not unless a leader lies.
    private var isInOrder = true
    private(set) var count = 0

    var isGathering: Bool { !gathering.isEmpty }
    var isAsking: Bool { !asking.isEmpty }

    mutating func append(_ read: Pending) {
        gathering.append(read)
        count += 1
    }

    /// All gathered reads share the next read index.
    mutating func startAsking() {
        precondition(asking.isEmpty, "one read index at a time")
        swap(&asking, &gathering)
    }

    /// The read index is known.
    ///
    /// - Returns: the index of reads that still wait, if it is higher than this one: no true leader says so. Each of them
    ///   goes by its own index all the same.
    mutating func confirm(at index: LogIndex) -> LogIndex? {
        guard !asking.isEmpty else { return nil }
        if confirmed.isEmpty { isInOrder = true }
        let highest = confirmed.last.map(\.index) ?? 0
        confirmed.append(Confirmed(index: index, reads: asking))
        asking.removeAll()
        guard highest > index else { return nil }
        isInOrder = false
        return highest
    }

    /// Reads whose index is applied: only now may a view be opened for them.
    mutating func takeServable(applied: LogIndex) -> [Pending] {
        var servable: [Pending] = []
        while let first = confirmed.first, first.index <= applied {
            servable.append(contentsOf: first.reads)
            confirmed.removeFirst()
        }
        if !isInOrder {
            for group in confirmed where group.index <= applied { servable.append(contentsOf: group.reads) }
            confirmed.removeAll { $0.index <= applied }
        }
        count -= servable.count
        return servable
    }

    /// A read whose time is up, taken out, the oldest of its stage. `isConfirmed`: it had its index, so a majority has
    /// answered, and waited for the engine.
    mutating func popFirst(expiredAt now: UInt64) -> (read: Pending, isConfirmed: Bool)? {
        while let first = confirmed.first, first.reads.isEmpty { confirmed.removeFirst() }
        if !confirmed.isEmpty, confirmed[0].reads[0].deadline <= now {
            count -= 1
            return (confirmed[0].reads.removeFirst(), isConfirmed: true)
        }
        if let first = asking.first, first.deadline <= now {
            count -= 1
            return (asking.removeFirst(), isConfirmed: false)
        }
        if let first = gathering.first, first.deadline <= now {
            count -= 1
            return (gathering.removeFirst(), isConfirmed: false)
        }
        return nil
    }

    mutating func takeAll() -> [Pending] {
        var all = confirmed.flatMap { $0.reads }
        all.append(contentsOf: asking)
        all.append(contentsOf: gathering)
        self = PendingReads()
        return all
    }
}
