import DequeModule
import Glibc

/// The threads of production: one each for the log, apply and background lanes, a few for reads.
///
/// Owns its threads until ``shutdown()``; any thread may submit.
package final class ThreadExecutor: Executor {
    /// By raw value of the lane.
    private let lanes: [LaneThreads]

    package init(readThreads: Int = 2) {
        precondition(readThreads >= 1, "reads need a thread")
        lanes = Lane.allCases.map { lane in
            LaneThreads(
                name: "vikdb-\(lane)", threadCount: lane == .read ? readThreads : 1, niceness: lane.niceness)
        }
    }

    package func submit(_ lane: Lane, _ job: @escaping @Sendable () -> Void) {
        lanes[lane.rawValue].submit(job)
    }

    /// Runs what was submitted, then ends the threads; not to be called by a job. What is submitted to a lane after
    /// its threads ended is never run.
    package func shutdown() {
        for lane in lanes { lane.stop() }
        for lane in lanes { lane.join() }
    }

    /// The same, but no longer than so many milliseconds: a disk may hang.
    ///
    /// - Returns: the lanes with a job that has not come back. Their threads are left to it.
    package func shutdown(milliseconds: UInt64) -> [Lane] {
        let deadline = MonotonicClock.nanoseconds + milliseconds * 1_000_000
        for lane in lanes { lane.stop() }
        return Lane.allCases.filter { !lanes[$0.rawValue].join(until: deadline) }
    }
}

/// The queue of one lane and the threads that empty it.
///
/// `@unchecked Sendable`: `jobs`, `idleThreads`, `isStopping` and `threads` are touched under `mutex` alone,
/// `endedThreads` under `ending`.
private final class LaneThreads: @unchecked Sendable {
    typealias Job = @Sendable () -> Void

    /// Submitters bound what they have under way far below this; more is a defect, not load.
    private static let maxQueuedJobs = 1 << 20

    private let name: String
    private let niceness: Int32
    private let isOrdered: Bool
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let hasWork: UnsafeMutablePointer<pthread_cond_t>
    private var jobs = Deque<Job>()
    private var idleThreads = 0
    private var isStopping = false
    private var threads: [pthread_t] = []
    private let threadCount: Int
    /// Threads that have run their last job, under a lock that can be waited for with a limit.
    private let ending = Monitor()
    private var endedThreads = 0

    init(name: String, threadCount: Int, niceness: Int32) {
        self.name = name
        self.niceness = niceness
        self.threadCount = threadCount
        isOrdered = threadCount == 1
        // On the heap, because their addresses must not change.
        mutex = .allocate(capacity: 1)
        hasWork = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        hasWork.initialize(to: pthread_cond_t())
        check(pthread_mutex_init(mutex, nil), "pthread_mutex_init")
        check(pthread_cond_init(hasWork, nil), "pthread_cond_init")
        locked { for _ in 0..<threadCount { threads.append(startThread()) } }
    }

    deinit {
        // Each thread holds a reference until it ends, so that nobody waits here any more.
        pthread_cond_destroy(hasWork)
        pthread_mutex_destroy(mutex)
        hasWork.deallocate()
        mutex.deallocate()
    }

    func submit(_ job: @escaping Job) {
        let mustWake = locked {
            precondition(jobs.count < Self.maxQueuedJobs, "the queue of \(name) is bounded by its submitters")
            jobs.append(job)
            return idleThreads > 0
        }
        if mustWake { pthread_cond_signal(hasWork) }
    }

    func stop() {
        locked { isStopping = true }
        pthread_cond_broadcast(hasWork)
    }

    func join() {
        let ending = locked {
            defer { threads = [] }
            return threads
        }
        for thread in ending { check(pthread_join(thread, nil), "pthread_join") }
    }

    /// - Returns: false if a thread still has a job at `deadline`.
    func join(until deadline: UInt64) -> Bool {
        guard ending.locked({ ending.wait(until: deadline) { endedThreads == threadCount } }) else { return false }
        join()
        return true
    }

    private func startThread() -> pthread_t {
        var thread = pthread_t()
        let owner = Unmanaged.passRetained(self)
        let code = pthread_create(
            &thread, nil,
            { owner in
                Unmanaged<LaneThreads>.fromOpaque(owner!).takeRetainedValue().run()
                return nil
            }, owner.toOpaque())
        check(code, "pthread_create")
        return thread
    }

    private func run() {
        nameThread(name)
        // Of this thread alone, on Linux. One that keeps its usual priority harms nobody.
        if niceness != 0 { _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, niceness) }
        var batch = Deque<Job>()
        while takeJobs(into: &batch) {
            while let job = batch.popFirst() { job() }
        }
        ending.locked { endedThreads += 1 }
        ending.announce()
    }

    /// Waits for jobs. The one thread of an ordered lane takes all there are, others leave the rest to each other.
    private func takeJobs(into batch: inout Deque<Job>) -> Bool {
        locked {
            while jobs.isEmpty {
                if isStopping { return false }
                idleThreads += 1
                check(pthread_cond_wait(hasWork, mutex), "pthread_cond_wait")
                idleThreads -= 1
            }
            if isOrdered {
                swap(&jobs, &batch)
            } else {
                batch.append(jobs.removeFirst())
            }
            return true
        }
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        check(pthread_mutex_lock(mutex), "pthread_mutex_lock")
        defer { check(pthread_mutex_unlock(mutex), "pthread_mutex_unlock") }
        return body()
    }
}

extension Lane {
    /// Merges and snapshots take whole milliseconds at a time, for which no write should wait where cores are few.
    fileprivate var niceness: Int32 {
        switch self {
        case .log, .apply, .read: 0
        case .background, .snapshot: 10
        }
    }
}

/// Gives the calling thread its name for `top -H` and the like: through /proc, because Glibc's module lacks
/// `pthread_setname_np`. Linux keeps 15 bytes. Without /proc the thread has no name, which harms nobody.
func nameThread(_ name: String) {
    let descriptor = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    _ = Array(name.utf8.prefix(15)).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
}
