/// Why tables are merged.
package enum MergeCause: String, CaseIterable, Sendable {
    /// Their level is full.
    case size
    /// They hide much of what lies below them, or have tombstones that hide nothing any more.
    case tombstones
    /// The disk is short.
    case space
    /// An operator asked for it.
    case request
}

/// What to merge next: tables of one level with those that they overlap on the next.
package struct CompactionPlan: Equatable, Sendable {
    /// The level above.
    package var level: Int
    /// Where the result goes: the next level, or, from the last one, the same.
    package var outputLevel: Int
    package var upper: [UInt64]
    package var lower: [UInt64]
    /// There is nothing to merge: the tables above change their level as they are.
    package var isMove: Bool
    package var cause: MergeCause

    /// - Parameter outputLevel: nil: the next one.
    package init(
        level: Int, outputLevel: Int? = nil, upper: [UInt64], lower: [UInt64], isMove: Bool = false,
        cause: MergeCause = .size
    ) {
        self.level = level
        self.outputLevel = outputLevel ?? level + 1
        self.upper = upper
        self.lower = lower
        self.isMove = isMove
        self.cause = cause
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
///
/// Where no level is full, tables are merged whose tombstones are worth it: see ``tombstonePlans(_:)``.
package struct CompactionPicker: Sendable {
    package var level0Tables: Int
    package var level1Bytes: UInt64
    package var levelRatio: UInt64
    package var tableBytes: UInt64
    /// The least that a merge for the sake of tombstones must be expected to give back.
    package var minReclaimedBytes: UInt64

    package init(
        level0Tables: Int, level1Bytes: UInt64, levelRatio: UInt64, tableBytes: UInt64,
        minReclaimedBytes: UInt64 = .max
    ) {
        self.minReclaimedBytes = minReclaimedBytes
        self.level0Tables = level0Tables
        self.level1Bytes = level1Bytes
        self.levelRatio = levelRatio
        self.tableBytes = tableBytes
    }

    package func pick(_ levels: [[TableMetadata]]) -> CompactionPlan? {
        sizePlans(levels).first ?? tombstonePlans(levels).first
    }

    /// All that could be merged now, what matters most first: where there is room for some of it only.
    package func candidates(_ levels: [[TableMetadata]]) -> [CompactionPlan] {
        sizePlans(levels) + tombstonePlans(levels)
    }

    /// One for each level that is full, the fullest one first.
    private func sizePlans(_ levels: [[TableMetadata]]) -> [CompactionPlan] {
        var scores: [(level: Int, score: Double)] = [(0, Double(levels[0].count) / Double(level0Tables))]
        var limit = Double(level1Bytes)
        for level in 1..<levels.count - 1 {
            scores.append((level, Double(levels[level].reduce(0) { $0 + $1.fileBytes }) / limit))
            limit *= Double(levelRatio)
        }
        return scores.filter { $0.score >= 1 }
            // Of equal ones the upper level.
            .sorted { ($0.score, $1.level) > ($1.score, $0.level) }
            .map { full in
                let upper =
                    full.level == 0
                    ? overlapping(levels[0]) : [cheapest(of: levels[full.level], over: levels[full.level + 1])]
                return plan(from: full.level, upper, levels, .size)
            }
    }

    /// The tables of one level, which hang together on level 0, with what they overlap on the next.
    func plan(
        from level: Int, _ upper: [TableMetadata], _ levels: [[TableMetadata]], _ cause: MergeCause
    ) -> CompactionPlan {
        let lower = joining(upper, levels[level + 1])
        return CompactionPlan(
            level: level, upper: upper.map(\.number), lower: lower.map(\.number),
            isMove: lower.isEmpty && (upper.count == 1 || !upper.contains(where: isSmall) && areDisjoint(upper)),
            cause: cause)
    }

    /// Of the groups in which tables overlap, one through another, the largest; all tables if no two overlap.
    private func overlapping(_ tables: [TableMetadata]) -> [TableMetadata] {
        let most = groups(of: tables).max { $0.count < $1.count }!
        guard most.count > 1 else { return tables }
        let numbers = Set(most.map(\.number))
        return tables.filter { numbers.contains($0.number) }
    }

    /// The groups in which tables overlap, one through another, by key.
    func groups(of tables: [TableMetadata]) -> [[TableMetadata]] {
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
        return groups
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

    func joining(_ upper: [TableMetadata], _ below: [TableMetadata]) -> ArraySlice<TableMetadata> {
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
    func overlap(of tables: [TableMetadata], with below: [TableMetadata]) -> Range<Int> {
        let smallest = tables.map(\.smallest).min(by: InternalKey.precedes)!
        let largest = tables.map(\.largest).max(by: InternalKey.precedes)!
        let start = below.partitioningIndex { !InternalKey.stemPrecedes($0.largest, smallest) }
        let end = below.partitioningIndex { InternalKey.stemPrecedes(largest, $0.smallest) }
        return start..<max(start, end)
    }
}
