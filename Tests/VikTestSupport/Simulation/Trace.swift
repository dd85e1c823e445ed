/// Everything that a run did, as one number: two runs of a seed are the same exactly if their traces are. Prints itself
/// when asked to. A plain value.
struct Trace {
    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    let isPrinted: Bool
    var now: UInt64 = 0

    init(isPrinted: Bool) {
        self.isPrinted = isPrinted
    }

    /// - Parameter text: what it means to a reader; only made when the trace is printed.
    mutating func note(_ words: UInt64..., text: @autoclosure () -> String) {
        mix(now)
        for word in words { mix(word) }
        if isPrinted { print("\(now / 1000).\(now % 1000 / 100) ms  \(text())") }
    }

    private mutating func mix(_ word: UInt64) {
        hash = (hash ^ word) &* 0x0000_0100_0000_01b3
        hash ^= hash >> 29
    }
}
