import Glibc

/// One merge in progress: reads the tables of a plan and writes their newest versions into new tables of the level
/// below. Runs in slices, between which flushes have their turn. Bound to the background lane.
final class Compaction {
    let plan: CompactionPlan
    private(set) var outputs: [TableMetadata] = []
    private let cursor: MergeCursor
    /// The tables below the output level: while one may hold a key, the key's tombstone stays.
    private let below: [[Table]]
    private let maxTableBytes: UInt64
    private let sliceBytes: Int
    private var writer: NewTable?
    private let stemStorage = UnsafeMutableRawPointer.allocate(byteCount: InternalKey.maxBytes, alignment: 8)
    /// The stem of the newest version that passed; older versions of it are dropped.
    private var seen: UnsafeRawBufferPointer
    private var isStarted = false

    init(_ plan: CompactionPlan, in version: Version, _ options: EngineOptions) {
        self.plan = plan
        let (upper, lower) = (Set(plan.upper), Set(plan.lower))
        let lowerTables = version.levels[plan.level + 1].filter { lower.contains($0.metadata.number) }
        var cursors: [Cursor] = version.levels[plan.level]
            .filter { upper.contains($0.metadata.number) }
            .map { TableCursor($0, fillCache: false) }
        if !lowerTables.isEmpty { cursors.append(LevelCursor(lowerTables, fillCache: false)) }
        cursor = MergeCursor(cursors)
        below = Array(version.levels.dropFirst(plan.level + 2))
        maxTableBytes = options.maxTableBytes
        sliceBytes = options.mergeSliceBytes
        seen = UnsafeRawBufferPointer(start: stemStorage, count: 0)
    }

    deinit {
        stemStorage.deallocate()
    }

    /// Merges the next slice. - Returns: whether that was the last; `outputs` then is complete and durable.
    func runSlice(_ files: inout TableFiles) throws(StorageError) -> Bool {
        if !isStarted {
            let first = SearchKey.first()
            try cursor.seek(first.bytes)
            isStarted = true
        }
        var bytes = 0
        while cursor.isValid && bytes < sliceBytes {
            bytes += cursor.key.count + cursor.value.count
            if isNeeded(cursor.key) { try write(&files) }
            try cursor.next()
        }
        guard !cursor.isValid else { return false }
        try finishTable()
        return true
    }

    /// Removes what was written.
    func abandon(_ files: inout TableFiles) {
        if let writer { files.discard(writer.number) }
        for output in outputs { files.discard(output.number) }
        writer = nil
        outputs = []
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
            return position < level.count && level[position].metadata.covers(stem)
        }
    }

    private func write(_ files: inout TableFiles) throws(StorageError) {
        if let writer, writer.table.fileBytes >= maxTableBytes { try finishTable() }
        let open: NewTable
        if let writer {
            open = writer
        } else {
            open = try files.create()
            writer = open
        }
        try open.table.add(cursor.key, cursor.value)
    }

    private func finishTable() throws(StorageError) {
        guard let finished = writer else { return }
        outputs.append(try finished.table.finish())
        writer = nil
    }
}
