/// What to merge next: tables of one level with those that they overlap on the next.
package struct CompactionPlan: Equatable, Sendable {
    /// The level above; the result goes to `level + 1`.
    package var level: Int
    package var upper: [UInt64]
    package var lower: [UInt64]
    /// There is nothing to merge: the tables above change their level as they are.
    package var isMove: Bool

    package init(level: Int, upper: [UInt64], lower: [UInt64], isMove: Bool = false) {
        self.level = level
        self.upper = upper
        self.lower = lower
        self.isMove = isMove
    }
}

/// Decides what to merge next. A plain value without state: the same tables, the same plan.
///
/// Every level has a score, its size in units of its limit; the highest one of at least 1 is merged. Level 0 counts
/// tables, since every read asks all of them. An older one must never end up above a newer one, so that all of them go
/// down at once that overlap, one through another; where keys come from several ranges, the range with the most tables
/// goes first, and what lies between the ranges is left alone. From other levels goes the table that drags along the
/// fewest bytes for its size. Small neighbours on the level below join in, so that many small flushes do not leave as
/// many small tables. Where nothing overlaps, as when keys are written in their order, tables of a fair size only change
/// their level.
package struct CompactionPicker: Sendable {
    package var level0Tables: Int
    package var level1Bytes: UInt64
    package var levelRatio: UInt64
    package var tableBytes: UInt64

    package init(level0Tables: Int, level1Bytes: UInt64, levelRatio: UInt64, tableBytes: UInt64) {
        self.level0Tables = level0Tables
        self.level1Bytes = level1Bytes
        self.levelRatio = levelRatio
        self.tableBytes = tableBytes
    }

    package func pick(_ levels: [[TableMetadata]]) -> CompactionPlan? {
        var best: (level: Int, score: Double) = (0, Double(levels[0].count) / Double(level0Tables))
        var limit = Double(level1Bytes)
        for level in 1..<levels.count - 1 {
            let score = Double(levels[level].reduce(0) { $0 + $1.fileBytes }) / limit
            if score > best.score { best = (level, score) }
            limit *= Double(levelRatio)
        }
        guard best.score >= 1 else { return nil }
        let upper =
            best.level == 0
            ? overlapping(levels[0]) : [cheapest(of: levels[best.level], over: levels[best.level + 1])]
        let lower = joining(upper, levels[best.level + 1])
        return CompactionPlan(
            level: best.level, upper: upper.map(\.number), lower: lower.map(\.number),
            isMove: lower.isEmpty && (upper.count == 1 || !upper.contains(where: isSmall) && areDisjoint(upper)))
    }

    /// Of the groups in which tables overlap, one through another, the largest; all tables if no two overlap.
    private func overlapping(_ tables: [TableMetadata]) -> [TableMetadata] {
        let sorted = tables.sorted { InternalKey.precedes($0.smallest, $1.smallest) }
        var groups: [[TableMetadata]] = []
        var largest: [UInt8] = []
        for table in sorted {
            if groups.isEmpty || InternalKey.stemPrecedes(largest, table.smallest) {
                groups.append([table])
                largest = table.largest
            } else {
                groups[groups.count - 1].append(table)
                if InternalKey.precedes(largest, table.largest) { largest = table.largest }
            }
        }
        let most = groups.max { $0.count < $1.count }!
        guard most.count > 1 else { return tables }
        let numbers = Set(most.map(\.number))
        return tables.filter { numbers.contains($0.number) }
    }

    private func areDisjoint(_ tables: [TableMetadata]) -> Bool {
        let sorted = tables.sorted { InternalKey.precedes($0.smallest, $1.smallest) }
        return zip(sorted, sorted.dropFirst()).allSatisfy { InternalKey.stemPrecedes($0.largest, $1.smallest) }
    }

    private func cheapest(of tables: [TableMetadata], over below: [TableMetadata]) -> TableMetadata {
        let costs = tables.map { table in
            let dragged = below[overlap(of: [table], with: below)].reduce(0) { $0 + $1.fileBytes }
            return Double(dragged) / Double(table.fileBytes)
        }
        return tables[costs.indices.min { costs[$0] < costs[$1] }!]
    }

    private func joining(_ upper: [TableMetadata], _ below: [TableMetadata]) -> ArraySlice<TableMetadata> {
        var range = overlap(of: upper, with: below)
        if range.lowerBound > 0, isSmall(below[range.lowerBound - 1]) {
            range = range.lowerBound - 1..<range.upperBound
        }
        if range.upperBound < below.count, isSmall(below[range.upperBound]) {
            range = range.lowerBound..<range.upperBound + 1
        }
        return below[range]
    }

    private func isSmall(_ table: TableMetadata) -> Bool {
        table.fileBytes < tableBytes / 2
    }

    /// The tables of `below` that share a part of the span of `tables`; where they would be, if there are none.
    private func overlap(of tables: [TableMetadata], with below: [TableMetadata]) -> Range<Int> {
        let smallest = tables.map(\.smallest).min(by: InternalKey.precedes)!
        let largest = tables.map(\.largest).max(by: InternalKey.precedes)!
        let start = below.partitioningIndex { !InternalKey.stemPrecedes($0.largest, smallest) }
        let end = below.partitioningIndex { InternalKey.stemPrecedes(largest, $0.smallest) }
        return start..<max(start, end)
    }
}
