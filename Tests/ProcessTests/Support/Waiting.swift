import Glibc

/// Nanoseconds on the clock that all threads and processes of a machine share.
func monotonicNanoseconds() -> UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}

func secondsSince(_ start: UInt64) -> Double {
    Double(monotonicNanoseconds() - start) / 1e9
}

struct TimedOut: Error, CustomStringConvertible {
    let description: String
}

/// Tries `attempt` until it gives something.
func poll<Result>(
    within seconds: Double, everyMilliseconds pause: UInt32 = 10, for what: @autoclosure () -> String,
    _ attempt: () throws -> Result?
) throws -> Result {
    let start = monotonicNanoseconds()
    while true {
        if let result = try attempt() { return result }
        guard secondsSince(start) < seconds else { throw TimedOut(description: "\(what()): not within \(seconds) s") }
        usleep(pause * 1_000)
    }
}
