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
    /// Tables of an edit of which it is open whether the broken manifest has it.
    private var undecided: [UInt64] = []

    var isCompacting: Bool { compaction != nil }

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
            levelRatio: options.levelRatio, tableBytes: options.maxTableBytes)
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
        var added: [TableMetadata] = []
        if let table = try write(sealed.memtable) { added.append(table) }
        try install(
            VersionEdit(
                flushed: sealed.last, nextFileNumber: files.nextNumber,
                added: added.map { VersionEdit.Placed(level: 0, table: $0) }))
        work.flushes += 1
        work.flushWrittenBytes += added.fileBytes
    }

    /// Runs one slice of the merge in progress or begins the next one.
    mutating func mergeSlice() throws(StorageError) {
        try renewManifestIfNeeded()
        guard
            let compaction = compaction ?? version.plan.map({ Compaction($0, in: version, into: files, options) })
        else { return }
        self.compaction = compaction
        do throws(StorageError) {
            let plan = compaction.plan
            let outputs =
                try plan.isMove
                ? version.catalog.levels[plan.level].filter { plan.upper.contains($0.number) }
                : compaction.runSlice()
            guard let outputs else { return }
            self.compaction = nil
            let removed = Set(plan.upper + plan.lower)
            let inputs = version.catalog.levels.joined().filter { removed.contains($0.number) }
            try install(
                VersionEdit(
                    nextFileNumber: files.nextNumber, removed: plan.upper + plan.lower,
                    added: outputs.map { VersionEdit.Placed(level: plan.level + 1, table: $0) }))
            if plan.isMove {
                work.moves += 1
            } else {
                work.merges += 1
                work.mergeReadBytes += inputs.fileBytes
                work.mergeWrittenBytes += outputs.fileBytes
            }
        } catch {
            if self.compaction != nil {
                compaction.abandon()
                self.compaction = nil
            }
            throw error
        }
    }

    /// Replaces all tables by those of `snapshot`, which holds everything up to `position`.
    mutating func install(_ snapshot: SnapshotWriter, at position: FlushedPosition) throws(StorageError) {
        try renewManifestIfNeeded()
        // A merge between two slices would bring back what is about to go.
        compaction?.abandon()
        compaction = nil
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
                repeat {
                    try cursor.next()
                } while cursor.isValid
                    && InternalKey.compareStems(InternalKey.stem(cursor.key), InternalKey.stem(written)) == 0
            }
            return try new.table.finish()
        } catch {
            files.discard(new.number)
            throw error
        }
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
