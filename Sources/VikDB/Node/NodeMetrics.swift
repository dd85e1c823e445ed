import VikWire

/// How often something took how long, in buckets that each are twice as wide as the one before. A plain value.
package struct Histogram: Sendable, Equatable {
    /// The upper bounds of all buckets but the last, which has none.
    package let bounds: [UInt64]
    /// One for each bound, and the last.
    package private(set) var counts: [UInt64]
    package private(set) var sum: UInt64 = 0

    init(from first: UInt64, buckets: Int) {
        bounds = (0..<buckets).map { first << UInt64($0) }
        counts = Array(repeating: 0, count: buckets + 1)
    }

    mutating func observe(_ value: UInt64) {
        // The number of doublings that `value` is above the first bound.
        let scaled = (value + bounds[0] - 1) / bounds[0]
        let bucket = scaled <= 1 ? 0 : UInt64.bitWidth - (scaled - 1).leadingZeroBitCount
        counts[min(bucket, bounds.count)] += 1
        sum &+= value
    }

    package var count: UInt64 { counts.reduce(0, +) }
}

/// What a node measures of itself, since it started. A plain value; kept by the shell, published once a tick.
package struct NodeMetrics: Sendable, Equatable {
    /// Nanoseconds from a write's proposal to its being applied here.
    package var commitLatency = Histogram(from: 125_000, buckets: 16)
    /// Nanoseconds that a group's write and fdatasync took.
    package var syncLatency = Histogram(from: 31_250, buckets: 18)
    /// Entries in a group.
    package var batchEntries = Histogram(from: 1, buckets: 13)
    /// Elections that this node began, and won.
    package var campaigns: UInt64 = 0
    package var electionsWon: UInt64 = 0
    /// How long the write to the log that is out has been so, and what is committed has waited for the engine; 0: nothing.
    package var logWriteOutMilliseconds: UInt64 = 0
    package var applyBehindMilliseconds: UInt64 = 0
    /// Requests that wait.
    package var waitingWrites = 0
    package var waitingReads = 0
    package var unappliedEntries: UInt64 = 0
    package var pressure = PressureRecord()
    /// The tables, by level, and what is on its way to them.
    package var tables: [Int] = []
    package var tableBytes: [UInt64] = []
    package var tableEntries: [UInt64] = []
    package var tableTombstones: [UInt64] = []
    package var isSweeping = false
    package var sealedMemtables = 0
    package var blockCache = BlockCacheUsage()
    package var openTables = TableCacheUsage()
    /// Of records, since the log was opened.
    package var logWrittenBytes: UInt64 = 0
    package var work = EngineWork()
    /// Of the disk that has less.
    package var freeBytes: UInt64 = 0

    package init() {}

    /// Merges that are done, by what they were done for.
    package var mergesByCause: [(cause: String, count: UInt64)] {
        MergeCause.allCases.map { ($0.rawValue, work.mergesByCause[$0] ?? 0) }
    }

    /// What was written to log and tables, snapshots that came from elsewhere aside, by keys and values applied; nil: none
    /// were. A restart applies some again that it does not write to the log again, which makes it a little too low.
    package var writeAmplification: Double? {
        guard work.appliedBytes > 0 else { return nil }
        let written = logWrittenBytes + work.flushWrittenBytes + work.mergeWrittenBytes
        return Double(written) / Double(work.appliedBytes)
    }

    /// The size of all tables by that of the lowest level that has any, which stands for what is live; nil: there are none.
    package var spaceAmplification: Double? {
        tableBytes.last { $0 > 0 }.map { lowest in Double(tableBytes.reduce(0, +)) / Double(lowest) }
    }
}
