import Glibc
import Synchronization
import VikDB

/// The order of a benchmark of log and engine. Blocks; for the main thread.
struct StorageBenchmark {
    private let plan: StoragePlan
    private let directory: String
    /// What each thread of each workload starts its random numbers from.
    private var seeds: SplitMix64
    private var store: LocalStore

    /// Opens the store in `directory`.
    init(_ plan: StoragePlan, in directory: String) throws {
        self.plan = plan
        self.directory = directory
        seeds = SplitMix64(seed: plan.seed)
        store = try LocalStore.open(in: directory, plan.engine)
    }

    /// Runs one workload after another; `report` gets the figures of each when it has ended.
    mutating func run(_ report: (StorageFigures) -> Void) throws {
        for workload in plan.workloads {
            if workload.isFresh { try startAfresh() }
            Progress.write(workload.rawValue)
            let figures = try measure(workload)
            Progress.clear()
            report(figures)
        }
        try store.close()
    }

    private mutating func startAfresh() throws {
        try store.close()
        try LocalStore.remove(from: directory)
        store = try LocalStore.open(in: directory, plan.engine)
    }

    private mutating func measure(_ workload: StorageWorkload) throws -> StorageFigures {
        let before = store.written
        let heldBefore = store.heldBack
        let counts = try run(workload)
        let held = store.heldBack
        var figures = StorageFigures(workload, counts, plan)
        // Not measured: what the background still has to do belongs to what was written, not to what comes next.
        try store.settle()
        if workload.isWrite {
            figures.heldBack = StorageFigures.Held(
                slowed: held.slowed - heldBefore.slowed, stalled: held.stalled - heldBefore.stalled)
            let after = store.written
            figures.writeAmplification = .init(
                (log: after.log - before.log, tables: after.tables - before.tables),
                by: counts.bytes + counts.deletedKeyBytes)
            figures.spaceAmplification = .init(store.size, by: try liveBytes())
        }
        return figures
    }

    private mutating func run(_ workload: StorageWorkload) throws -> StorageCounts {
        let threads = (0..<plan.threads).map { number in
            StorageThread(store, plan, workload, seed: seeds.next(), isFirst: number == 0)
        }
        guard workload == .readwhilewriting else { return try StorageCounts(runAll(threads)) }
        let writer = StorageThread(store, plan, .overwrite, seed: seeds.next(), isFirst: false)
        let isRead = Flag()
        let writing = ClientThread { () throws(StorageError) in
            var writer = writer
            try writer.overwrite(until: isRead.value)
            return writer.counts
        }
        let outcome = Result { try StorageCounts(runAll(threads)) }
        isRead.value.store(true, ordering: .relaxed)
        _ = try writing.join().get()
        return try outcome.get()
    }

    private func runAll(_ threads: [StorageThread]) throws(StorageError) -> [StorageCounts] {
        let running = threads.map { thread in
            ClientThread { () throws(StorageError) in
                var thread = thread
                try thread.run()
                return thread.counts
            }
        }
        // All are waited for, whatever one of them ran into.
        let outcomes = running.map { $0.join() }
        var counts: [StorageCounts] = []
        for outcome in outcomes { counts.append(try outcome.get()) }
        return counts
    }

    /// Bytes of all keys that exist and of their values.
    private func liveBytes() throws(StorageError) -> Int {
        var bytes = 0
        var cursor = store.view().cursor()
        try cursor.seek(.user, UnsafeRawBufferPointer(start: nil, count: 0))
        while cursor.isValid {
            bytes += cursor.userKey.count + cursor.value.count
            try cursor.next()
        }
        return bytes
    }
}

/// One thread's word to another.
private final class Flag: Sendable {
    let value = Atomic<Bool>(false)
}

/// A thread of its own for one piece of work. Whoever made it joins it, once.
private final class ClientThread: Sendable {
    typealias Outcome = Result<StorageCounts, StorageError>

    private let body: @Sendable () throws(StorageError) -> StorageCounts
    private let outcome = Mutex<Outcome?>(nil)
    private let thread = Mutex<pthread_t?>(nil)

    init(_ body: @escaping @Sendable () throws(StorageError) -> StorageCounts) {
        self.body = body
        let owner = Unmanaged.passRetained(self)
        var started = pthread_t()
        let code = pthread_create(
            &started, nil,
            { owner in
                let thread = Unmanaged<ClientThread>.fromOpaque(owner!).takeRetainedValue()
                thread.run()
                return nil
            }, owner.toOpaque())
        precondition(code == 0, "pthread_create: \(errorText(code))")
        thread.withLock { $0 = started }
    }

    func join() -> Outcome {
        let started = thread.withLock { $0! }
        let code = pthread_join(started, nil)
        precondition(code == 0, "pthread_join: \(errorText(code))")
        return outcome.withLock { $0! }
    }

    private func run() {
        let ended = Outcome { () throws(StorageError) in try body() }
        outcome.withLock { $0 = ended }
    }
}
