import Glibc

/// A thread that is never joined: what it does may take for ever, and holds up nothing, the end of the process included.
package enum DetachedThread {
    /// Runs `body` on it. It takes no signals: neither one that ends the process, nor SIGPIPE, of which a write itself
    /// tells.
    ///
    /// - Returns: false if the system has no thread to give; `body` then never runs.
    package static func run(_ body: @escaping @Sendable () -> Void) -> Bool {
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        // The new thread inherits the mask.
        pthread_sigmask(SIG_BLOCK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        var attributes = pthread_attr_t()
        guard pthread_attr_init(&attributes) == 0 else { return false }
        defer { pthread_attr_destroy(&attributes) }
        guard pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED)) == 0 else { return false }
        var thread = pthread_t()
        let owned = Unmanaged.passRetained(Body(run: body))
        let code = pthread_create(
            &thread, &attributes,
            { owned in
                Unmanaged<Body>.fromOpaque(owned!).takeRetainedValue().run()
                return nil
            }, owned.toOpaque())
        if code != 0 { owned.release() }
        return code == 0
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void

        init(run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }
}
