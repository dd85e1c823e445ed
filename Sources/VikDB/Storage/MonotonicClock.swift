import Glibc

/// Time for metrics, and for how long somebody is waited for: nothing that a node decides together with others depends
/// on it.
package enum MonotonicClock {
    /// Nanoseconds since some moment in the past.
    package static var nanoseconds: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
