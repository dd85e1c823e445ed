import Glibc
import Synchronization
import Testing
import VikDB

/// The threads behind the lanes.
@Suite struct ThreadExecutorTests {
    @Test(arguments: [Lane.log, .apply, .background])
    func anOrderedLaneKeepsTheOrderAndOneThread(lane: Lane) {
        let executor = ThreadExecutor()
        let ran = Mutex<(numbers: [Int], threads: Set<UInt>)>(([], []))
        for number in 0..<20_000 {
            executor.submit(lane) {
                ran.withLock {
                    $0.numbers.append(number)
                    $0.threads.insert(pthread_self())
                }
            }
        }
        executor.shutdown()
        ran.withLock {
            #expect($0.numbers == Array(0..<20_000))
            #expect($0.threads.count == 1 && !$0.threads.contains(pthread_self()))
        }
    }

    /// Two reads that wait for each other end only if both run at the same time.
    @Test func readsRunAtTheSameTime() {
        let executor = ThreadExecutor(readThreads: 2)
        let arrived = Atomic(0)
        let met = Atomic(0)
        for _ in 0..<2 {
            executor.submit(.read) {
                arrived.add(1, ordering: .sequentiallyConsistent)
                let deadline = time(nil) + 10
                while arrived.load(ordering: .sequentiallyConsistent) < 2, time(nil) < deadline { sched_yield() }
                met.add(arrived.load(ordering: .sequentiallyConsistent), ordering: .sequentiallyConsistent)
            }
        }
        executor.shutdown()
        let meetings = met.load(ordering: .sequentiallyConsistent)
        #expect(meetings == 4)
    }

    /// Each job wakes an idle lane and the next one is submitted by it: a lost wake-up would hang.
    @Test func lanesHandOverToEachOther() {
        let executor = ThreadExecutor()
        let done = Atomic(false)
        let chain = Chain(executor: executor) { done.store(true, ordering: .releasing) }
        chain.hop(10_000)
        let deadline = time(nil) + 30
        while !done.load(ordering: .acquiring), time(nil) < deadline { sched_yield() }
        let isDone = done.load(ordering: .acquiring)
        #expect(isDone)
        executor.shutdown()
    }

    private final class Chain: Sendable {
        private let executor: ThreadExecutor
        private let finish: @Sendable () -> Void

        init(executor: ThreadExecutor, finish: @escaping @Sendable () -> Void) {
            self.executor = executor
            self.finish = finish
        }

        func hop(_ rest: Int) {
            guard rest > 0 else { return finish() }
            executor.submit(Lane(rawValue: rest % Lane.allCases.count)!) { self.hop(rest - 1) }
        }
    }
}
