/// The tables on disk and everything that changes them: flush, merge, manifest. Bound to the background lane; the
/// engine publishes ``version`` after each change.
///
/// Order of every change: tables written and synced, their directory synced, the edit appended to the manifest and
/// synced, and only then the old tables retired. A crash anywhere leaves the state before or after the edit, and at
/// most some orphans, which the next start removes.
struct TableStore {
    private(set) var version: Version
    /// Flushes, merges and moves so far.
    private(set) var work = EngineWork()
    private let directory: String
    private let fileSystem: any FileSystem
    private let options: EngineOptions
    private let picker: CompactionPicker
    let files: TableFiles
    private var manifest: Manifest
    private var compaction: Compaction?
    private var sweep: Sweep?
    /// Merges that were given up because the disk became short, by the first of their tables, and what they had written
    /// by then: they are not tried again with no more room than that.
    private var oversized: [UInt64: UInt64] = [:]
    /// Tables of an edit of which it is open whether the broken manifest has it.
    private var undecided: [UInt64] = []

    var isCompacting: Bool { compaction != nil }
    var isSweeping: Bool { sweep != nil }

    /// A way through all levels, from above, that leaves of each key no version but the newest.
    private struct Sweep {
        let cause: MergeCause
        var level = 0
        /// The last key of the step before on this level.
        var after: [UInt8]?
    }

    /// Opens the tables in `directory`, or begins with none.
    init(
        directory: String, fileSystem: any FileSystem, options: EngineOptions, blocks: BlockCache,
        tables openTables: TableCache, obsolete: ObsoleteTables
    ) throws(StorageError) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.options = options
        picker = CompactionPicker(
            level0Tables: options.level0MergeTables, level1Bytes: options.level1Bytes,
            levelRatio: options.levelRatio, tableBytes: options.maxTableBytes,
            minReclaimedBytes: options.minReclaimedBytes)
        try fileSystem.createDirectory(directory)
        // A process that was killed leaves names and edits that a power loss can still take back. So the names become
        // durable before any is followed, and no file goes before a new manifest holds what was read from the old one.
        try fileSystem.syncDirectory(directory)
        let present = try TableDirectory(directory, fileSystem)
        var catalog = TableCatalog()
        if let current = try Manifest.current(in: directory, fileSystem) {
            catalog = try Manifest.load(current, from: directory, fileSystem).catalog
        } else {
            try present.checkWithoutCurrent()
        }
        try present.checkNumbers()
        files = TableFiles(
            directory: directory, fileSystem: fileSystem, blocks: blocks, tables: openTables, obsolete: obsolete,
            options: options, nextNumber: max(catalog.nextFileNumber, present.nextNumber))
        var tables: [UInt64: Table] = [:]
        for metadata in catalog.levels.joined() { tables[metadata.number] = try files.open(metadata) }
        catalog.note(tables)
        let number = files.takeNumber()
        precondition(catalog.apply(VersionEdit(nextFileNumber: files.nextNumber)) == nil)
        manifest = try Manifest.create(number: number, for: catalog, in: directory, fileSystem)
        // CURRENT.tmp is none: the new manifest took over by giving it the name of CURRENT.
        for file in present.leftovers(tables: Set(tables.keys), manifest: number) where file != .currentTemporary {
            try fileSystem.remove(file.path(in: directory))
        }
        version = Version(catalog, tables, picker)
    }

    /// Writes a sealed memtable as a table of level 0; none if it holds no operation.
    mutating func flush(_ sealed: SealedMemtable) throws(StorageError) {
        try renewManifestIfNeeded()
        try checkRoom(for: sealed.memtable)
        var added: [TableMetadata] = []
        if let table = try write(sealed.memtable) { added.append(table) }
        try install(
            VersionEdit(
                flushed: sealed.last, nextFileNumber: files.nextNumber,
                added: added.map { VersionEdit.Placed(level: 0, table: $0) }))
        work.flushes += 1
        work.flushWrittenBytes += added.fileBytes
    }

    /// Begins a sweep, or one that ends later than the one under way.
    mutating func beginSweep(_ cause: MergeCause) {
        sweep = Sweep(cause: cause)
    }

    /// Runs one slice of the merge in progress or begins the next one that there is room for.
    ///
    /// - Returns: false: what is due finds no room.
    mutating func mergeSlice() throws(StorageError) -> Bool {
        try renewManifestIfNeeded()
        let available = try files.availableBytes()
        let room = available - min(available, options.reservedBytes)
        if let compaction, !compaction.plan.isMove, room == 0 {
            oversized[compaction.plan.upper[0]] = compaction.writtenBytes
            compaction.abandon()
            self.compaction = nil
        }
        guard
            let compaction = compaction
                ?? nextPlan(room).map({ Compaction($0, in: version, into: files, options) })
        else { return version.plan == nil }
        self.compaction = compaction
        do throws(StorageError) {
            let plan = compaction.plan
            let outputs =
                try plan.isMove
                ? version.catalog.levels[plan.level].filter { plan.upper.contains($0.number) }
                : compaction.runSlice()
            guard let outputs else { return true }
            self.compaction = nil
            let removed = Set(plan.upper + plan.lower)
            let inputs = version.catalog.levels.joined().filter { removed.contains($0.number) }
            try install(
                VersionEdit(
                    nextFileNumber: files.nextNumber, removed: plan.upper + plan.lower,
                    added: outputs.map { VersionEdit.Placed(level: plan.outputLevel, table: $0) }))
            if plan.isMove {
                work.moves += 1
            } else {
                work.merges += 1
                work.mergesByCause[plan.cause, default: 0] += 1
                work.mergeReadBytes += inputs.fileBytes
                work.mergeWrittenBytes += outputs.fileBytes
            }
            return true
        } catch {
            if self.compaction != nil {
                if case .full = error { oversized[compaction.plan.upper[0]] = compaction.writtenBytes }
                compaction.abandon()
                self.compaction = nil
            }
            throw error
        }
    }

    /// Runs a whole merge, if there is one that there is room for.
    mutating func mergeWhatFits() throws(StorageError) {
        repeat { _ = try mergeSlice() } while isCompacting
    }

    /// What is to be merged next: what is due first, and else what a sweep comes to.
    private mutating func nextPlan(_ room: UInt64) -> CompactionPlan? {
        let levels = version.catalog.levels
        if let plan = version.plan {
            if fits(plan, room) { return plan }
            let candidates = picker.candidates(levels)
            // What is expected to fit comes before what fits only if newer values hide most of the older ones.
            if let plan = candidates.first(where: { fits($0, room) }) ?? candidates.first(where: { mayFit($0, room) }) {
                return plan
            }
        }
        while var sweep {
            if let (plan, last) = picker.sweepStep(levels, level: sweep.level, after: sweep.after, sweep.cause) {
                sweep.after = last
                self.sweep = sweep
                if fits(plan, room) || mayFit(plan, room) { return plan }
            } else {
                sweep.level += 1
                sweep.after = nil
                self.sweep = sweep.level < levels.count ? sweep : nil
            }
        }
        return nil
    }

    private func fits(_ plan: CompactionPlan, _ room: UInt64) -> Bool {
        if plan.isMove { return true }
        return isWorthATry(plan, room) && picker.outputBytes(of: plan, version.catalog.levels).most <= room
    }

    private func mayFit(_ plan: CompactionPlan, _ room: UInt64) -> Bool {
        isWorthATry(plan, room) && picker.outputBytes(of: plan, version.catalog.levels).least <= room
    }

    /// What was given up for want of room is begun again only with more of it.
    private func isWorthATry(_ plan: CompactionPlan, _ room: UInt64) -> Bool {
        guard let written = oversized[plan.upper[0]] else { return true }
        return room > written + written / 8
    }

    /// A flush may use all that there is, since it lets the log go; but it does not begin what cannot end.
    private func checkRoom(for memtable: Memtable) throws(StorageError) {
        let available = try files.availableBytes()
        // A table takes less than a memtable; how much less is worth a look when the disk is short.
        guard UInt64(memtable.bytes) > available else { return }
        let cursor = MemtableCursor(memtable)
        let first = SearchKey.first()
        try cursor.seek(first.bytes)
        var bytes: UInt64 = 0
        while cursor.isValid {
            let counted = cursor.key
            bytes += UInt64(counted.count + cursor.value.count) + Self.tableBytesPerEntry
            try Self.skipVersions(of: counted, cursor)
        }
        if bytes > available { throw .full(path: directory) }
    }

    /// What an entry takes in a table beside its key and its value, with its part of filter and index.
    private static let tableBytesPerEntry: UInt64 = 12

    /// Replaces all tables by those of `snapshot`, which holds everything up to `position`.
    mutating func install(_ snapshot: SnapshotWriter, at position: FlushedPosition) throws(StorageError) {
        try renewManifestIfNeeded()
        // A merge between two slices would bring back what is about to go.
        compaction?.abandon()
        compaction = nil
        sweep = nil
        let tables = try snapshot.finish()
        // On the lowest level nothing is merged any more, and no tombstone has to be kept for what lies below.
        let lowest = TableCatalog.levelCount - 1
        try install(
            VersionEdit(
                flushed: position, installed: position.index, nextFileNumber: files.nextNumber,
                removed: version.catalog.levels.joined().map(\.number),
                added: tables.map { VersionEdit.Placed(level: lowest, table: $0) }))
    }

    func removeObsolete() throws(StorageError) {
        try files.removeObsolete()
    }

    private mutating func write(_ memtable: Memtable) throws(StorageError) -> TableMetadata? {
        let cursor = MemtableCursor(memtable)
        let first = SearchKey.first()
        try cursor.seek(first.bytes)
        guard cursor.isValid else { return nil }
        let new = try files.create()
        do throws(StorageError) {
            while cursor.isValid {
                let written = cursor.key
                try new.table.add(written, cursor.value)
                // Only the newest version of a key goes to the table.
                try Self.skipVersions(of: written, cursor)
            }
            return try new.table.finish()
        } catch {
            files.discard(new.number)
            throw error
        }
    }

    /// Goes on to the next key of a memtable.
    private static func skipVersions(of key: UnsafeRawBufferPointer, _ cursor: MemtableCursor) throws(StorageError) {
        repeat {
            try cursor.next()
        } while cursor.isValid && InternalKey.compareStems(InternalKey.stem(cursor.key), InternalKey.stem(key)) == 0
    }

    /// Makes `edit` durable and true.
    private mutating func install(_ edit: VersionEdit) throws(StorageError) {
        var tables: [UInt64: Table] = [:]
        for table in version.levels.joined() { tables[table.metadata.number] = table }
        let fresh = edit.added.map(\.table).filter { tables[$0.number] == nil }
        var catalog = version.catalog
        if let reason = catalog.apply(edit) { preconditionFailure("an edit contradicts the catalog: \(reason)") }
        do throws(StorageError) {
            for metadata in fresh { tables[metadata.number] = try files.open(metadata) }
            if !fresh.isEmpty { try files.syncNames() }
        } catch {
            for metadata in fresh { files.discard(metadata.number) }
            throw error
        }
        do throws(StorageError) {
            try manifest.append(edit)
        } catch {
            undecided += fresh.map(\.number)
            throw error
        }
        let live = Set(catalog.levels.joined().map(\.number))
        for number in edit.removed where !live.contains(number) { tables[number]?.retire() }
        version = Version(catalog, tables.filter { live.contains($0.key) }, picker)
        oversized = oversized.filter { live.contains($0.key) }
    }

    /// Replaces a manifest that has grown, or that may or may not hold the edit of an append that failed.
    private mutating func renewManifestIfNeeded() throws(StorageError) {
        guard manifest.isBroken || manifest.isFull else { return }
        let old = manifest.number
        let number = files.takeNumber()
        var catalog = version.catalog
        precondition(catalog.apply(VersionEdit(nextFileNumber: files.nextNumber)) == nil)
        manifest = try Manifest.create(number: number, for: catalog, in: directory, fileSystem)
        try fileSystem.remove(EngineFile.manifest(old).path(in: directory))
        for number in undecided { files.discard(number) }
        undecided = []
    }
}

extension [TableMetadata] {
    fileprivate var fileBytes: UInt64 { reduce(0) { $0 + $1.fileBytes } }
}
