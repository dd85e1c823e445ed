import NIOCore

/// The pauses between attempts to dial a peer: exponential, capped, and spread so that peers that failed together do
/// not try together. A plain value; the same seed gives the same pauses.
package struct RetryDelay {
    private let least: Int64
    private let most: Int64
    private var ceiling: Int64
    private var state: UInt64

    package init(least: TimeAmount, most: TimeAmount, seed: UInt64) {
        precondition(least.nanoseconds >= 1 && least <= most)
        self.least = least.nanoseconds
        self.most = most.nanoseconds
        ceiling = least.nanoseconds
        state = seed
    }

    /// Between half of the ceiling and all of it; the ceiling then doubles.
    package mutating func next() -> TimeAmount {
        let pause = ceiling - Int64(random() % UInt64(ceiling / 2 + 1))
        ceiling = min(most, ceiling * 2)
        return .nanoseconds(pause)
    }

    /// As if the ceiling had been reached already.
    package mutating func longest() -> TimeAmount {
        ceiling = most
        return next()
    }

    /// After a success.
    package mutating func reset() {
        ceiling = least
    }

    /// SplitMix64.
    private mutating func random() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }
}
