import VikWire

/// One change of the set of live tables; a record of the manifest. A plain value.
struct VersionEdit: Equatable, Sendable {
    struct Placed: Equatable, Sendable {
        var level: Int
        var table: TableMetadata
    }

    /// Index and term of the last whole entry in the tables, if the edit moves them.
    var flushed: FlushedPosition?
    /// Index of the snapshot that the tables come from, if the edit installs one.
    var installed: LogIndex?
    var nextFileNumber: UInt64
    var removed: [UInt64] = []
    var added: [Placed] = []
}

/// Up to which entry of the log the tables hold everything.
package struct FlushedPosition: Equatable, Sendable {
    package var index: LogIndex
    package var term: Term

    package init(index: LogIndex, term: Term) {
        self.index = index
        self.term = term
    }
}

/// Which tables are live, and on which level. A plain value: what the manifest says, edit by edit.
struct TableCatalog: Equatable, Sendable {
    static let levelCount = 7

    private(set) var flushed = FlushedPosition(index: 0, term: 0)
    /// Index of the last snapshot that replaced all tables; 0: none did.
    private(set) var installed: LogIndex = 0
    private(set) var nextFileNumber: UInt64 = 1
    /// Level 0: newest first, ranges overlap. Other levels: by key, no two tables share a stem.
    private(set) var levels = [[TableMetadata]](repeating: [], count: TableCatalog.levelCount)

    var tableCount: Int { levels.reduce(0) { $0 + $1.count } }

    /// Notes what the tables themselves, by number, say of their tombstones.
    mutating func note(_ tables: [UInt64: Table]) {
        for level in levels.indices {
            for position in levels[level].indices {
                guard let table = tables[levels[level][position].number] else { continue }
                levels[level][position] = table.metadata
            }
        }
    }

    /// How many tombstones in a memtable make its flush due although it is small: as many as hide an eighth of the
    /// tables, or a memtable's worth of them; .max: the tables are not worth it.
    func tombstonesWorthAFlush(_ options: EngineOptions) -> Int {
        let bytes = levels.joined().reduce(0) { $0 + $1.fileBytes }
        let hiddenByEach = levels.reduce(0) { $0 + $1.bytesHidden(by: 1) }
        guard hiddenByEach > 0, bytes >= options.minReclaimedBytes else { return .max }
        let wanted = max(options.minReclaimedBytes, min(bytes / 8, UInt64(options.memtableMaxBytes)))
        return max(1, Int((Double(wanted) / hiddenByEach).rounded(.up)))
    }

    /// The edit that makes this catalog out of an empty one.
    var asEdit: VersionEdit {
        var edit = VersionEdit(
            flushed: flushed, installed: installed > 0 ? installed : nil, nextFileNumber: nextFileNumber)
        for (level, tables) in levels.enumerated() {
            edit.added += tables.map { VersionEdit.Placed(level: level, table: $0) }
        }
        return edit
    }

    /// Applies `edit`, or returns the reason why it contradicts what is here and leaves the catalog undefined.
    mutating func apply(_ edit: VersionEdit) -> String? {
        if let flushed = edit.flushed {
            guard flushed.index >= self.flushed.index else { return "the flushed index goes back" }
            self.flushed = flushed
        }
        if let installed = edit.installed {
            guard installed >= self.installed, installed <= flushed.index else {
                return "the index of the installed snapshot is impossible"
            }
            self.installed = installed
        }
        guard edit.nextFileNumber >= nextFileNumber else { return "the next file number goes back" }
        nextFileNumber = edit.nextFileNumber
        let removed = Set(edit.removed)
        let countBefore = tableCount
        for level in levels.indices { levels[level].removeAll { removed.contains($0.number) } }
        guard countBefore - tableCount == edit.removed.count else { return "it removes a table that is not there" }
        for placed in edit.added {
            guard levels.indices.contains(placed.level) else { return "it names level \(placed.level)" }
            guard placed.table.number < nextFileNumber else { return "a table number was not given out yet" }
            levels[placed.level].append(placed.table)
        }
        levels[0].sort { $0.number > $1.number }
        for level in levels.indices.dropFirst() {
            levels[level].sort { InternalKey.precedes($0.smallest, $1.smallest) }
            for (left, right) in zip(levels[level], levels[level].dropFirst()) {
                guard InternalKey.stemPrecedes(left.largest, right.smallest) else {
                    return "tables \(left.number) and \(right.number) overlap on level \(level)"
                }
            }
        }
        return nil
    }
}

extension InternalKey {
    static func precedes(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.span.withUnsafeBytes { left in right.span.withUnsafeBytes { compare(left, $0) < 0 } }
    }

    /// Whether the stem of `left` sorts before that of `right`.
    static func stemPrecedes(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.span.withUnsafeBytes { left in right.span.withUnsafeBytes { compareStems(stem(left), stem($0)) < 0 } }
    }
}

extension Array {
    /// The first position whose element satisfies `predicate`, which none before and all after it do.
    func partitioningIndex(_ predicate: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if predicate(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
