import DequeModule
import VikWire

/// The proposals of this node that wait for their entry to be applied, in log order and so also in order of their
/// deadlines. A plain value.
struct PendingWrites {
    struct Pending {
        let index: LogIndex
        let term: Term
        let deadline: UInt64
        /// When it was proposed, on the clock of metrics.
        let since: UInt64
        /// Of its command.
        let bytes: Int
        let token: UInt64
        let sink: any ReplySink
    }

    private var queue: Deque<Pending> = []
    /// Of all commands that wait.
    private(set) var bytes = 0

    var count: Int { queue.count }
    var isEmpty: Bool { queue.isEmpty }

    mutating func append(_ pending: Pending) {
        precondition(queue.last.map { $0.index < pending.index } ?? true, "proposals have increasing indexes")
        queue.append(pending)
        bytes += pending.bytes
    }

    /// The first pending write whose entry is at most `index`, taken out.
    mutating func popFirst(through index: LogIndex) -> Pending? {
        guard let first = queue.first, first.index <= index else { return nil }
        return removeFirst()
    }

    /// The first pending write whose time is up, taken out.
    mutating func popFirst(expiredAt now: UInt64) -> Pending? {
        guard let first = queue.first, first.deadline <= now else { return nil }
        return removeFirst()
    }

    /// The last pending write if its entry is after `index`, taken out.
    mutating func popLast(after index: LogIndex) -> Pending? {
        guard let last = queue.last, last.index > index else { return nil }
        bytes -= last.bytes
        return queue.removeLast()
    }

    private mutating func removeFirst() -> Pending {
        let first = queue.removeFirst()
        bytes -= first.bytes
        return first
    }
}
