import Glibc

/// The seeds that random tests run with.
package enum Seeds {
    /// `count` fixed seeds, or the one in the environment variable `VIK_SEED`, which a failed run has printed.
    package static func list(_ count: Int) -> [UInt64] {
        if let text = getenv("VIK_SEED"), let seed = UInt64(String(cString: text)) { return [seed] }
        return Array(1...UInt64(count))
    }
}
