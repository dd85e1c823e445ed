/// The limits of one engine. A plain value.
package struct EngineOptions: Sendable {
    /// Size of a memtable; at least 65,536.
    package var memtableMaxBytes = 104_857_600
    /// A memtable is full, too, when it stands for so many bytes of the log: a log of small entries is to be compacted.
    package var maxUnflushedLogBytes = 256 << 20
    /// Full memtables that wait for their flush before the engine counts as stalled.
    package var maxSealedMemtables = 2
    /// Of data blocks; filters and indexes are not among them.
    package var blockCacheBytes = 128 << 20
    /// Tables that are kept open, and the bytes of their filters and indexes; those used last, at least one. Filter and
    /// index take about a sixtieth of a table of small values.
    package var maxOpenTables = 256
    package var maxOpenTableBytes = 128 << 20
    /// Where a data block ends: at the entry that reaches this size.
    package var blockBytes = 4 << 10
    /// How the data blocks of new tables are stored, where it makes them smaller; all kinds are read.
    package var compression = BlockCompression.none
    /// Where a merge begins its next table.
    package var maxTableBytes: UInt64 = 64 << 20
    /// Tables on level 0 that make a merge due, and at which writes are slowed down, and then stalled.
    package var level0MergeTables = 4
    package var level0SlowdownTables = 12
    package var level0StallTables = 20
    /// Limit of level 1; every level below may be `levelRatio` times as large as the one above.
    package var level1Bytes: UInt64 = 256 << 20
    package var levelRatio: UInt64 = 10
    /// The least that a flush or a merge for the sake of tombstones alone must be expected to give back.
    package var minReclaimedBytes: UInt64 = 4 << 20
    /// Bytes of the disk that no merge is begun, or goes on, without: what deletes need that are to make room.
    package var reservedBytes: UInt64 = 0
    /// Bytes that one job of a merge reads, so that a flush never waits long for its turn.
    package var mergeSliceBytes = 16 << 20

    package init() {}

    package static let minMemtableBytes = 65_536
    static let maxBlockBytes = 1 << 20

    func check() {
        precondition(memtableMaxBytes >= Self.minMemtableBytes && memtableMaxBytes <= Memtable.maxCapacity)
        precondition(maxUnflushedLogBytes >= 1)
        precondition(maxSealedMemtables >= 1 && blockCacheBytes >= 0 && maxTableBytes >= 1)
        precondition(maxOpenTables >= 1 && maxOpenTableBytes >= 0)
        precondition(blockBytes >= 64 && blockBytes <= Self.maxBlockBytes)
        precondition(level0MergeTables >= 1 && level0SlowdownTables >= level0MergeTables)
        precondition(level0StallTables >= level0SlowdownTables)
        precondition(minReclaimedBytes >= 1)
        precondition(level1Bytes >= 1 && levelRatio >= 2 && mergeSliceBytes >= 1)
    }
}

/// What an engine holds, for `/health` and metrics. A plain value.
package struct EngineStatistics: Equatable, Sendable {
    package struct Level: Equatable, Sendable {
        package var tables: Int
        package var bytes: UInt64
        package var entries: UInt64
        package var tombstones: UInt64
    }

    package var appliedIndex: UInt64
    package var flushed: FlushedPosition
    /// Of the active and the sealed memtables together.
    package var memtableBytes: Int
    package var sealedMemtables: Int
    package var levels: [Level]
    package var blockCache: BlockCacheUsage
    package var openTables: TableCacheUsage
    package var work: EngineWork
    /// A sweep through all levels is asked for or under way.
    package var isSweeping: Bool

    package var tableCount: Int { levels.reduce(0) { $0 + $1.tables } }
    package var tableBytes: UInt64 { levels.reduce(0) { $0 + $1.bytes } }
}
