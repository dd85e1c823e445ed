import Glibc

/// Waits for SIGTERM or SIGINT. Made on the main thread before any other thread starts, so that all of them inherit the
/// mask; ``wait()`` and ``restoreDefaults()`` are for the main thread, ``end()`` for any.
struct EndingSignals: Sendable {
    private let mainThread = pthread_self()

    init() {
        var signals = Self.all
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        // A client that goes away shows as an error of the write, not as a signal.
        signal(SIGPIPE, SIG_IGN)
    }

    /// Returns the name of the signal that came.
    func wait() -> String {
        var signals = Self.all
        var number: Int32 = 0
        while sigwait(&signals, &number) != 0 {}
        return number == SIGINT ? "SIGINT" : "SIGTERM"
    }

    /// Ends the wait as if a signal had come.
    func end() {
        pthread_kill(mainThread, SIGTERM)
    }

    /// From now on a signal ends the process at once.
    func restoreDefaults() {
        var signals = Self.all
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    }

    private static var all: sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGINT)
        return signals
    }
}
