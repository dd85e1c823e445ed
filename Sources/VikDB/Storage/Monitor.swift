import Glibc

/// Mutex and condition for code that waits no longer than it wants to, on the clock that no one can set.
///
/// `@unchecked Sendable`: two addresses that never change, of objects that any thread may use.
final class Monitor: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>

    init() {
        // On the heap, because their addresses must not change.
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        condition.initialize(to: pthread_cond_t())
        check(pthread_mutex_init(mutex, nil), "pthread_mutex_init")
        var attributes = pthread_condattr_t()
        check(pthread_condattr_init(&attributes), "pthread_condattr_init")
        check(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC), "pthread_condattr_setclock")
        check(pthread_cond_init(condition, &attributes), "pthread_cond_init")
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func locked<Result>(_ body: () -> Result) -> Result {
        check(pthread_mutex_lock(mutex), "pthread_mutex_lock")
        defer { check(pthread_mutex_unlock(mutex), "pthread_mutex_unlock") }
        return body()
    }

    /// Under the lock: until something was announced.
    func wait() {
        check(pthread_cond_wait(condition, mutex), "pthread_cond_wait")
    }

    /// Under the lock: until `isDone`, or `deadline` on ``MonotonicClock``.
    func wait(until deadline: UInt64, _ isDone: () -> Bool) -> Bool {
        var time = timespec(tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
        while !isDone() {
            let code = pthread_cond_timedwait(condition, mutex, &time)
            if code == ETIMEDOUT { return isDone() }
            check(code, "pthread_cond_timedwait")
        }
        return true
    }

    func announce() {
        check(pthread_cond_broadcast(condition), "pthread_cond_broadcast")
    }
}

/// Something that happens once, and that any thread may wait for, no longer than it wants to.
///
/// `@unchecked Sendable`: `isReached` is touched under the monitor's lock alone.
package final class Signpost: @unchecked Sendable {
    private let monitor = Monitor()
    private var isReached = false

    package init() {}

    package func reach() {
        monitor.locked { isReached = true }
        monitor.announce()
    }

    /// - Returns: false if it was not reached within so many milliseconds.
    package func wait(milliseconds: UInt64) -> Bool {
        let deadline = MonotonicClock.nanoseconds + milliseconds * 1_000_000
        return monitor.locked { monitor.wait(until: deadline) { isReached } }
    }
}

func check(_ code: Int32, _ call: StaticString) {
    precondition(code == 0, "\(call): \(errorText(code))")
}
