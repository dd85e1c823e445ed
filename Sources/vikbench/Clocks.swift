import Glibc
import NIOCore

/// Time and CPU time at one moment; the difference of two is what something took. A plain value, taken on the thread
/// whose own CPU time it is to have.
struct ClockReading {
    private let time = NIODeadline.now()
    private let processMicroseconds: Double
    private let threadMicroseconds: Double

    init() {
        let usage = processUsage()
        processMicroseconds = Self.microseconds(usage.ru_utime) + Self.microseconds(usage.ru_stime)
        var thread = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &thread)
        threadMicroseconds = Double(thread.tv_sec) * 1e6 + Double(thread.tv_nsec) / 1e3
    }

    struct Elapsed {
        var seconds: Double
        /// User and system time of all threads.
        var processMicroseconds: Double
        var threadMicroseconds: Double
    }

    func elapsed(until end: ClockReading) -> Elapsed {
        Elapsed(
            seconds: Double((end.time - time).nanoseconds) / 1e9,
            processMicroseconds: end.processMicroseconds - processMicroseconds,
            threadMicroseconds: end.threadMicroseconds - threadMicroseconds)
    }

    private static func microseconds(_ time: timeval) -> Double {
        Double(time.tv_sec) * 1e6 + Double(time.tv_usec)
    }
}

/// The most memory that this process has had resident so far.
enum PeakMemory {
    static var bytes: Int { processUsage().ru_maxrss << 10 }
}

private func processUsage() -> rusage {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage
}
