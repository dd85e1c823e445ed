import Glibc
import Logging
import VikDB

/// Waits for SIGTERM or SIGINT; a SIGHUP meanwhile is noted and ends nothing. Made on the main thread before any other
/// thread starts, so that all of them inherit the mask; ``wait(_:)`` and ``restoreDefaults()`` are for the main thread,
/// ``end()`` for any.
struct EndingSignals: Sendable {
    private let mainThread = pthread_self()

    init() {
        var signals = Self.set(SIGTERM, SIGINT, SIGHUP)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        // A client that goes away shows as an error of the write, not as a signal.
        signal(SIGPIPE, SIG_IGN)
    }

    /// Returns the name of the signal that came.
    func wait(_ logger: Logger) -> String {
        var signals = Self.set(SIGTERM, SIGINT, SIGHUP)
        while true {
            var number: Int32 = 0
            guard sigwait(&signals, &number) == 0 else { continue }
            switch number {
            case SIGINT: return "SIGINT"
            case SIGTERM: return "SIGTERM"
            default: logger.info("SIGHUP changes nothing: SIGTERM or SIGINT stops the node")
            }
        }
    }

    /// Runs what may take as long as a log is large, or for ever where a disk hangs: SIGTERM or SIGINT meanwhile ends
    /// the process at once, as nothing is promised yet.
    func endingWhile<Result>(_ body: () throws(StartError) -> Result) throws(StartError) -> Result {
        let isOver = Signpost()
        let watcherEnd = Signpost()
        // Where the system has no thread to give, it runs unwatched.
        let isWatched = DetachedThread.run {
            while !isOver.wait(milliseconds: 0) { Self.endIfSignalled(withinMilliseconds: Self.pauseMilliseconds) }
            watcherEnd.reach()
        }
        defer {
            isOver.reach()
            if isWatched { _ = watcherEnd.wait(milliseconds: 20 * UInt64(Self.pauseMilliseconds)) }
        }
        return try body()
    }

    private static let pauseMilliseconds = 20

    private static func endIfSignalled(withinMilliseconds limit: Int) {
        var signals = set(SIGTERM, SIGINT)
        var time = timespec(tv_sec: 0, tv_nsec: limit * 1_000_000)
        let number = sigtimedwait(&signals, nil, &time)
        guard number > 0 else { return }
        let name = number == SIGINT ? "SIGINT" : "SIGTERM"
        StandardError.end("vikdb: stopped by \(name) before the node had started", status: EXIT_SUCCESS)
    }

    /// Ends the wait as if a signal had come.
    func end() {
        pthread_kill(mainThread, SIGTERM)
    }

    /// From now on a signal that ends the process does so at once.
    func restoreDefaults() {
        var signals = Self.set(SIGTERM, SIGINT)
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    }

    private static func set(_ numbers: Int32...) -> sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in numbers { sigaddset(&signals, number) }
        return signals
    }
}
