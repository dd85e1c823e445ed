/// How many bytes may be applied now while flushes and merges are behind. A plain value; ticks are its only time, so that
/// a simulated node is slowed down as a real one is.
struct ApplyThrottle {
    /// While slowed down.
    let bytesPerTick: Int
    /// What is left of this tick; below 0 after an entry that was larger, which the next ticks pay for.
    private var credit: Int
    /// The run under way began while slowed down.
    private var isCharged = false

    init(_ options: NodeOptions) {
        bytesPerTick = max(1, options.slowedBytesPerSecond * options.tickMilliseconds / 1_000)
        credit = bytesPerTick
    }

    mutating func tick() {
        credit = min(bytesPerTick, credit + bytesPerTick)
    }

    /// - Returns: about how many bytes, of `maxBytes`, the next run may have; nil: there may be none now.
    mutating func beginRun(under pressure: WritePressure, maxBytes: Int) -> Int? {
        isCharged = pressure == .slowdown
        switch pressure {
        case .none: return maxBytes
        case .slowdown: return credit > 0 ? min(credit, maxBytes) : nil
        case .stall: return nil
        }
    }

    mutating func endRun(bytes: Int) {
        if isCharged { credit -= bytes }
    }
}
