import VikWire

/// Whether something that is out has been so for too long, and when that is worth a line. A plain value; ticks are its
/// only time.
struct StallWatch {
    enum Turn: Equatable {
        case began
        /// With the longest that something was out.
        case ended(longest: UInt64)
    }

    /// From so many ticks on it has been too long.
    let limit: UInt64
    /// How long nothing must have been out for too long before it counts as over: a disk that is slow again and again
    /// gets two lines, not two for each write.
    let calm: UInt64
    private(set) var ticksOut: UInt64 = 0
    private var longest: UInt64 = 0
    /// While it goes on, or is not over for sure.
    private var lastStalledAt: UInt64?

    init(limit: UInt64, calm: UInt64) {
        self.limit = limit
        self.calm = calm
    }

    var isStalled: Bool { ticksOut >= limit }

    /// - Parameter ticksOut: of what is out now; 0: nothing is.
    mutating func observe(_ ticksOut: UInt64, at now: UInt64) -> Turn? {
        self.ticksOut = ticksOut
        if isStalled {
            defer { lastStalledAt = now }
            longest = max(longest, ticksOut)
            return lastStalledAt == nil ? .began : nil
        }
        guard let since = lastStalledAt, now - since >= calm else { return nil }
        defer {
            lastStalledAt = nil
            longest = 0
        }
        return .ended(longest: longest)
    }
}

/// How long what is committed has waited for the engine at least: what was committed back then is not applied yet. A
/// plain value; ticks are its only time.
struct ApplyLag {
    private var committed: LogIndex = 0
    private var since: UInt64 = 0

    /// - Returns: in ticks.
    mutating func observe(committed newest: LogIndex, applied: LogIndex, at now: UInt64) -> UInt64 {
        if applied >= committed {
            committed = newest
            since = now
        }
        return applied >= committed ? 0 : now - since
    }
}

/// When something that goes on for ever is said again: at once, then ever more seldom, and at once when it changes. A
/// plain value; ticks are its only time.
struct Reminder {
    private let first: UInt64
    private let longest: UInt64
    private var text: String?
    private var next: UInt64 = 0
    private var interval: UInt64 = 0

    init(first: UInt64, longest: UInt64) {
        self.first = first
        self.longest = longest
    }

    /// Whether `text` is to be said now; nil: there is nothing to say any more.
    mutating func isDue(_ text: String?, at now: UInt64) -> Bool {
        guard let text else {
            self.text = nil
            return false
        }
        if text != self.text {
            self.text = text
            interval = first
        } else if now < next {
            return false
        } else {
            interval = min(2 * interval, longest)
        }
        next = now + interval
        return true
    }
}
