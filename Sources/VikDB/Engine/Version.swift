import VikWire

/// The live tables at one moment. Immutable, any thread; a view keeps its version, and with it the files.
///
/// Because every view keeps the memtables and the version of its moment, and tables hold only entries that were applied
/// before they were written, a merge may drop every version of a key but the newest: no view can need an older one
/// from a newer table.
final class Version: Sendable {
    let catalog: TableCatalog
    let levels: [[Table]]
    /// The same without those that have no table: level 0, then the rest from above.
    private let level0: [Table]
    private let sortedLevels: [[Table]]
    /// What to merge next, if anything.
    let plan: CompactionPlan?

    /// - Parameter tables: all tables of `catalog`, by number.
    init(_ catalog: TableCatalog, _ tables: [UInt64: Table], _ picker: CompactionPicker) {
        self.catalog = catalog
        levels = catalog.levels.map { level in level.map { tables[$0.number]! } }
        level0 = levels[0]
        sortedLevels = levels.dropFirst().filter { !$0.isEmpty }
        plan = picker.pick(catalog.levels)
    }

    func find(_ target: borrowing SearchKey) throws(StorageError) -> Lookup {
        let stem = InternalKey.stem(target.bytes)
        let hash = BloomFilter.hash(stem)
        // By position: to walk an array counts a reference for each of its elements.
        for position in level0.indices where level0[position].covers(stem) {
            let found = try level0[position].reader().find(target, hash: hash)
            guard case .absent = found else { return found }
        }
        for number in sortedLevels.indices {
            let position = sortedLevels[number].firstTable(endingNotBefore: target.bytes)
            guard position < sortedLevels[number].count, sortedLevels[number][position].covers(stem) else { continue }
            let found = try sortedLevels[number][position].reader().find(target, hash: hash)
            guard case .absent = found else { return found }
        }
        return .absent
    }

    func cursors(fillCache: Bool) -> [Cursor] {
        level0.map { TableCursor($0, fillCache: fillCache) }
            + sortedLevels.map { LevelCursor($0, fillCache: fillCache) }
    }
}

/// A memtable that is full, with the last whole entry in it. An entry never lies in two.
struct SealedMemtable: Sendable {
    let memtable: Memtable
    let last: FlushedPosition
}

/// All places that a read has to look at, as they were at one moment. Immutable but for the active memtable, to which a
/// view's bound applies.
final class ReadState: Sendable {
    let active: Memtable
    /// Oldest first.
    let sealed: [SealedMemtable]
    let version: Version

    init(active: Memtable, sealed: [SealedMemtable], version: Version) {
        self.active = active
        self.sealed = sealed
        self.version = version
    }

    /// The newest version of a key within the bound of `target`: the first place that knows the key has it.
    func find(_ target: borrowing SearchKey) throws(StorageError) -> StoredValue? {
        var found = active.find(target)
        for sealed in sealed.reversed() {
            guard case .absent = found else { break }
            found = sealed.memtable.find(target)
        }
        if case .absent = found { found = try version.find(target) }
        guard case .found(let value) = found else { return nil }
        return value
    }

    /// - Parameter fillCache: false for a reader that needs every block once.
    func cursor(fillCache: Bool) -> MergeCursor {
        MergeCursor(cursors(fillCache: fillCache))
    }

    /// One for each memtable, table of level 0 and level below.
    func cursors(fillCache: Bool) -> [Cursor] {
        let memtables = [MemtableCursor(active)] + sealed.map { MemtableCursor($0.memtable) }
        return memtables + version.cursors(fillCache: fillCache)
    }

    var memtableBytes: Int { sealed.reduce(active.bytes) { $0 + $1.memtable.bytes } }
}
