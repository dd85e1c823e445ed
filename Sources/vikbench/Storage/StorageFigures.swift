import Glibc
import Histogram
import VikDB

/// What threads counted in one workload. A plain value.
struct StorageCounts: Sendable {
    /// Nanoseconds of the clock.
    var start = MonotonicClock.nanoseconds
    var end: UInt64 = 0
    /// What the threads took, added up.
    private(set) var threadNanoseconds: UInt64 = 0
    var operations = 0
    var found = 0
    /// Of keys and values that were written or read.
    var bytes = 0
    /// Of keys that were deleted: db_bench leaves them out of its MB/s.
    var deletedKeyBytes = 0
    /// Nanoseconds of each operation; of none, where they are not wanted.
    var latency: Latencies

    init(hasLatencies: Bool) {
        latency = Latencies(highestTrackableValue: hasLatencies ? 600_000_000_000 : 2)
    }

    /// The threads of one workload as one.
    init(_ threads: [StorageCounts]) {
        self = threads[0]
        threadNanoseconds = threads.reduce(0) { $0 + ($1.end - $1.start) }
        for thread in threads.dropFirst() {
            start = min(start, thread.start)
            end = max(end, thread.end)
            operations += thread.operations
            found += thread.found
            bytes += thread.bytes
            deletedKeyBytes += thread.deletedKeyBytes
            latency.add(thread.latency)
        }
    }
}

/// The figures of one workload. A plain value; its names are those of the JSON report.
struct StorageFigures: Sendable, Encodable {
    struct Latency: Sendable, Encodable {
        var p50: Double
        var p99: Double
        var p999: Double
        var max: Double
    }

    /// Seconds that writers slept because flushes and merges were behind.
    struct Held: Sendable, Encodable {
        var slowed: Double
        var stalled: Double

        /// - Parameters: nanoseconds.
        init(slowed: UInt64, stalled: UInt64) {
            self.slowed = Double(slowed) / 1e9
            self.stalled = Double(stalled) / 1e9
        }
    }

    /// Log and tables each by the bytes of keys and values.
    struct Amplification: Sendable, Encodable {
        var log: Double
        var tables: Double
        var total: Double

        init(_ bytes: (log: Int, tables: Int), by userBytes: Int) {
            let userBytes = Double(Swift.max(userBytes, 1))
            log = rounded(Double(bytes.log) / userBytes)
            tables = rounded(Double(bytes.tables) / userBytes)
            total = rounded(Double(bytes.log + bytes.tables) / userBytes)
        }

        var text: String { formatted("times the data: %.2f (log %.2f, tables %.2f)", total, log, tables) }
    }

    var workload: StorageWorkload
    var microsPerOperation: Double
    var operationsPerSecond: Double
    var seconds: Double
    var operations: Int
    var megabytesPerSecond: Double
    /// Of searches: how many found their key.
    var found: Int?
    /// Of fillsync: the keys that it chose from.
    var keys: Int?
    var latency: Latency?
    var heldBack: Held?
    var writeAmplification: Amplification?
    var spaceAmplification: Amplification?

    enum CodingKeys: String, CodingKey {
        case workload, seconds, operations, found, keys
        case microsPerOperation = "micros_per_op"
        case operationsPerSecond = "ops_per_second"
        case megabytesPerSecond = "mb_per_second"
        case latency = "latency_us"
        case heldBack = "held_back_seconds"
        case writeAmplification = "write_amplification"
        case spaceAmplification = "space_amplification"
    }

    init(_ workload: StorageWorkload, _ counts: StorageCounts, _ plan: StoragePlan) {
        func microseconds(_ nanoseconds: UInt64) -> Double { rounded(Double(nanoseconds) / 1_000) }
        self.workload = workload
        operations = counts.operations
        seconds = Double(counts.end - counts.start) / 1e9
        microsPerOperation = Double(counts.threadNanoseconds) / 1e3 / Double(max(operations, 1))
        operationsPerSecond = Double(operations) / seconds
        megabytesPerSecond = Double(counts.bytes) / 1_048_576 / seconds
        if workload.isSearch { found = counts.found }
        if plan.keys(of: workload) != plan.keys { keys = plan.keys(of: workload) }
        if plan.hasLatencies {
            latency = Latency(
                p50: microseconds(counts.latency.valueAtPercentile(50)),
                p99: microseconds(counts.latency.valueAtPercentile(99)),
                p999: microseconds(counts.latency.valueAtPercentile(99.9)),
                max: microseconds(counts.latency.maxRecorded))
        }
    }

    /// db_bench's line, and under it what db_bench has elsewhere.
    var text: String {
        var extra: [String] = []
        if megabytesPerSecond > 0 { extra.append(formatted("%6.1f MB/s", megabytesPerSecond)) }
        if let found { extra.append("(\(found) of \(operations) found)") }
        if let keys { extra.append("(\(keys) ops)") }
        let name = workload.rawValue + String(repeating: " ", count: max(0, 12 - workload.rawValue.count))
        var lines = [
            name
                + formatted(
                    " : %11.3f micros/op %ld ops/sec %.3f seconds %ld operations;", microsPerOperation,
                    Int(operationsPerSecond), seconds, operations)
                + extra.map { " " + $0 }.joined()
        ]
        if let latency {
            lines.append(
                formatted(
                    "    latency, us: p50 %.2f, p99 %.2f, p99.9 %.2f, max %.2f", latency.p50, latency.p99,
                    latency.p999, latency.max))
        }
        if let held = heldBack, held.slowed + held.stalled > 0 {
            lines.append(formatted("    held back: slowed down %.3f s, stalled %.3f s", held.slowed, held.stalled))
        }
        if let written = writeAmplification { lines.append("    written, " + written.text) }
        if let size = spaceAmplification { lines.append("    on disk, " + size.text) }
        return lines.map { $0 + "\n" }.joined()
    }
}

/// As C's printf has it, for numbers.
private func formatted(_ format: String, _ numbers: any CVarArg...) -> String {
    var line = [CChar](repeating: 0, count: 256)
    let length = withVaList(numbers) { vsnprintf(&line, line.count, format, $0) }
    precondition(length >= 0 && length < line.count, "a line of the report has bounded fields")
    return String(decoding: line.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
