import Histogram

/// The library's histogram, by a name that it does not share with the one of VikDB.
typealias Latencies = Histogram<UInt64>

/// The figures of one measured run. A plain value; its names are those of the JSON report.
struct RunFigures: Sendable, Encodable {
    struct Latency: Sendable, Encodable {
        var p50: Double
        var p90: Double
        var p99: Double
        var p999: Double
        var max: Double
    }

    var commitsPerSecond: Double
    var latency: Latency
    /// The following are nil where the nodes are not in this process.
    var entriesPerFdatasync: Double?
    var wireBytesPerCommit: Double?
    var cpuPerCommit: Double?
    var clientCPUPerCommit: Double
    var acknowledged: Int
    var notApplied: Int
    var unknown: Int
    var firstFailure: String?

    enum CodingKeys: String, CodingKey {
        case commitsPerSecond = "commits_per_second"
        case latency = "latency_us"
        case entriesPerFdatasync = "entries_per_fdatasync"
        case wireBytesPerCommit = "wire_bytes_per_commit"
        case cpuPerCommit = "cpu_us_per_commit"
        case clientCPUPerCommit = "client_cpu_us_per_commit"
        case acknowledged
        case notApplied = "not_applied"
        case unknown
        case firstFailure = "first_failure"
    }

    init(
        _ puts: Puts, latency histogram: Histogram<UInt64>, elapsed: ClockReading.Elapsed, from start: SystemCounters?,
        to end: SystemCounters?
    ) {
        func microseconds(_ percentile: Double) -> Double {
            rounded(Double(histogram.valueAtPercentile(percentile)) / 1_000)
        }
        let commits = Double(max(puts.acknowledged, 1))
        commitsPerSecond = rounded(Double(puts.acknowledged) / elapsed.seconds)
        latency = Latency(
            p50: microseconds(50), p90: microseconds(90), p99: microseconds(99), p999: microseconds(99.9),
            max: rounded(Double(histogram.maxRecorded) / 1_000))
        clientCPUPerCommit = rounded(elapsed.threadMicroseconds / commits)
        acknowledged = puts.acknowledged
        notApplied = puts.notApplied
        unknown = puts.unknown
        firstFailure = puts.firstFailure
        guard let start, let end else { return }
        cpuPerCommit = rounded(elapsed.processMicroseconds / commits)
        wireBytesPerCommit = rounded(Double(end.wireBytes - start.wireBytes) / commits)
        // Of one leader only: two have no common count of groups.
        if start.leader == end.leader, end.leaderGroups > start.leaderGroups {
            entriesPerFdatasync = rounded(
                Double(end.leaderEntries - start.leaderEntries) / Double(end.leaderGroups - start.leaderGroups))
        }
    }
}

extension RunFigures {
    /// Each figure's median over the runs, and the sums of what was counted.
    init(mediansOf runs: [RunFigures]) {
        func middleIfAny(_ figure: (RunFigures) -> Double?) -> Double? {
            let values = runs.compactMap(figure)
            return values.isEmpty ? nil : rounded(median(values))
        }
        func middle(_ figure: (RunFigures) -> Double) -> Double {
            rounded(median(runs.map(figure)))
        }
        commitsPerSecond = middle { $0.commitsPerSecond }
        latency = Latency(
            p50: middle { $0.latency.p50 }, p90: middle { $0.latency.p90 }, p99: middle { $0.latency.p99 },
            p999: middle { $0.latency.p999 }, max: middle { $0.latency.max })
        entriesPerFdatasync = middleIfAny { $0.entriesPerFdatasync }
        wireBytesPerCommit = middleIfAny { $0.wireBytesPerCommit }
        cpuPerCommit = middleIfAny { $0.cpuPerCommit }
        clientCPUPerCommit = middle { $0.clientCPUPerCommit }
        acknowledged = runs.reduce(0) { $0 + $1.acknowledged }
        notApplied = runs.reduce(0) { $0 + $1.notApplied }
        unknown = runs.reduce(0) { $0 + $1.unknown }
        firstFailure = runs.compactMap(\.firstFailure).first
    }
}

/// What reading back found at one node. A plain value.
struct ReadBackFigures: Sendable {
    var keys: Int
    var wrong: Int
    var unanswered: Int
    var firstFailure: String?

    var isRight: Bool { wrong == 0 && unanswered == 0 }
}

/// The middle value, or the mean of the two in the middle.
func median(_ values: [Double]) -> Double {
    precondition(!values.isEmpty, "nothing has no median")
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/// To two decimals: more would claim what no clock here can tell.
func rounded(_ value: Double) -> Double {
    (value * 100).rounded() / 100
}
