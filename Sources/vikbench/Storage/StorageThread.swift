import Histogram
import NIOCore
import Synchronization
import VikDB
import VikWire

/// One thread of a workload: it does operation after operation and counts. Bound to that thread.
struct StorageThread {
    private static let progressInterval: UInt64 = 200_000_000
    /// Operations between two looks at the clock, for the progress alone.
    private static let progressStride = 1_024

    private let store: LocalStore
    private let plan: StoragePlan
    private let workload: StorageWorkload
    private let isFirst: Bool
    private let keys: Int
    private let operations: Int
    private var random: SplitMix64
    private var key: [UInt8]
    private var values: CompressibleValues
    private(set) var counts: StorageCounts
    private var lastEnd: UInt64
    private var lastProgress: UInt64

    init(_ store: LocalStore, _ plan: StoragePlan, _ workload: StorageWorkload, seed: UInt64, isFirst: Bool) {
        self.store = store
        self.plan = plan
        self.workload = workload
        self.isFirst = isFirst
        keys = plan.keys(of: workload)
        operations = plan.operations(of: workload)
        random = SplitMix64(seed: seed)
        key = NumberedKey.blank(bytes: plan.keyBytes(of: workload))
        values = CompressibleValues(valueBytes: plan.valueBytes, using: &random)
        counts = StorageCounts(hasLatencies: plan.hasLatencies)
        lastEnd = counts.start
        lastProgress = counts.start
    }

    mutating func run() throws(StorageError) {
        switch workload {
        case .fillseq: for number in 0..<operations { try put(number) }
        case .fillrandom, .fillsync, .overwrite: for _ in 0..<operations { try put(randomNumber()) }
        case .deleterandom: for _ in 0..<operations { try delete(randomNumber()) }
        case .readrandom, .readmissing, .readwhilewriting: for _ in 0..<operations { try get(randomNumber()) }
        case .readseq: try readAll()
        case .readreverse: try readAllBackward()
        case .seekrandom: for _ in 0..<operations { try seek(randomNumber()) }
        }
        counts.end = MonotonicClock.nanoseconds
    }

    /// Overwrites keys at random until `isEnough`, for the readers of readwhilewriting.
    mutating func overwrite(until isEnough: borrowing Atomic<Bool>) throws(StorageError) {
        while !isEnough.load(ordering: .relaxed) { try put(randomNumber()) }
    }

    private mutating func randomNumber() -> Int {
        Int.random(in: 0..<keys, using: &random)
    }

    private mutating func put(_ number: Int) throws(StorageError) {
        NumberedKey.write(number, into: &key)
        let value = values.next()
        let command = Command.put(key: key.span.bytes, value: value.span.bytes)
        try store.write(command, isSynced: workload == .fillsync)
        counts.bytes += key.count + plan.valueBytes
        finishOperation()
    }

    private mutating func delete(_ number: Int) throws(StorageError) {
        NumberedKey.write(number, into: &key)
        try store.write(Command.delete(key: key), isSynced: false)
        counts.deletedKeyBytes += key.count
        finishOperation()
    }

    private mutating func get(_ number: Int) throws(StorageError) {
        NumberedKey.write(number, into: &key)
        if case .value(let value?) = try store.view().execute(.get(key: key)) {
            counts.found += 1
            counts.bytes += key.count + value.bytes.count
        }
        finishOperation()
    }

    private mutating func readAll() throws(StorageError) {
        var cursor = store.view().cursor()
        try cursor.seek(.user, UnsafeRawBufferPointer(start: nil, count: 0))
        while cursor.isValid, counts.operations < operations {
            counts.bytes += cursor.userKey.count + cursor.value.count
            try cursor.next()
            finishOperation()
        }
    }

    private mutating func readAllBackward() throws(StorageError) {
        var cursor = store.view().cursor()
        try cursor.seekToLast()
        while cursor.isValid, counts.operations < operations {
            counts.bytes += cursor.userKey.count + cursor.value.count
            try cursor.previous()
            finishOperation()
        }
    }

    private mutating func seek(_ number: Int) throws(StorageError) {
        NumberedKey.write(number, into: &key)
        var cursor = store.view().cursor()
        let isFound = try key.span.withUnsafeBytes { key throws(StorageError) in
            try cursor.seek(.user, key)
            return cursor.isValid && cursor.userKey.elementsEqual(key)
        }
        if isFound { counts.found += 1 }
        var left = plan.seekNexts
        while left > 0, cursor.isValid {
            counts.bytes += cursor.userKey.count + cursor.value.count
            try cursor.next()
            left -= 1
        }
        finishOperation()
    }

    private mutating func finishOperation() {
        counts.operations += 1
        if plan.hasLatencies {
            let now = MonotonicClock.nanoseconds
            counts.latency.record(now - lastEnd)
            lastEnd = now
        }
        if isFirst, counts.operations % Self.progressStride == 0 { showProgress() }
    }

    private mutating func showProgress() {
        let now = MonotonicClock.nanoseconds
        guard now - lastProgress > Self.progressInterval else { return }
        lastProgress = now
        Progress(label: workload.rawValue).show(counts.operations * plan.threads, of: operations * plan.threads)
    }
}
