import Glibc

/// One merge in progress: reads the tables of a plan and writes their newest versions into new tables of the level
/// below, or of the same one. Runs in slices, between which flushes have their turn. Bound to the background lane.
final class Compaction {
    let plan: CompactionPlan
    private let cursor: MergeCursor
    /// The tables below the output level: while one may hold a key, the key's tombstone stays.
    private let below: [[Table]]
    private let sliceBytes: Int
    private var run: TableRun
    private let stemStorage = UnsafeMutableRawPointer.allocate(byteCount: InternalKey.maxBytes, alignment: 8)
    /// The stem of the newest version that passed; older versions of it are dropped.
    private var seen: UnsafeRawBufferPointer
    private var isStarted = false

    init(_ plan: CompactionPlan, in version: Version, into files: TableFiles, _ options: EngineOptions) {
        self.plan = plan
        let (upper, lower) = (Set(plan.upper), Set(plan.lower))
        let lowerTables = version.levels[plan.outputLevel].filter { lower.contains($0.metadata.number) }
        var cursors: [Cursor] = version.levels[plan.level]
            .filter { upper.contains($0.metadata.number) }
            .map { TableCursor($0, fillCache: false) }
        if !lowerTables.isEmpty { cursors.append(LevelCursor(lowerTables, fillCache: false)) }
        cursor = MergeCursor(cursors)
        below = Array(version.levels.dropFirst(plan.outputLevel + 1))
        run = TableRun(files, maxTableBytes: options.maxTableBytes)
        sliceBytes = options.mergeSliceBytes
        seen = UnsafeRawBufferPointer(start: stemStorage, count: 0)
    }

    deinit {
        stemStorage.deallocate()
    }

    /// Merges the next slice. - Returns: after the last one the new tables, which are durable.
    func runSlice() throws(StorageError) -> [TableMetadata]? {
        if !isStarted {
            let first = SearchKey.first()
            try cursor.seek(first.bytes)
            isStarted = true
        }
        var bytes = 0
        while cursor.isValid && bytes < sliceBytes {
            bytes += cursor.key.count + cursor.value.count
            if isNeeded(cursor.key) { try run.add(cursor.key, cursor.value) }
            try cursor.next()
        }
        return try cursor.isValid ? nil : run.finish()
    }

    /// Bytes that the new tables have so far.
    var writtenBytes: UInt64 { run.bytes }

    /// Removes what was written.
    func abandon() {
        run.abandon()
    }

    private func isNeeded(_ key: UnsafeRawBufferPointer) -> Bool {
        let stem = InternalKey.stem(key)
        if !seen.isEmpty, InternalKey.compareStems(stem, seen) == 0 { return false }
        memcpy(stemStorage, stem.baseAddress!, stem.count)
        seen = UnsafeRawBufferPointer(start: stemStorage, count: stem.count)
        return !InternalKey.isDelete(key) || mayExistBelow(key, stem)
    }

    private func mayExistBelow(_ key: UnsafeRawBufferPointer, _ stem: UnsafeRawBufferPointer) -> Bool {
        below.contains { level in
            let position = level.firstTable(endingNotBefore: key)
            // A table that ends with an older version of this very key sorts after it too.
            return position < level.count && level[position].covers(stem)
        }
    }
}
