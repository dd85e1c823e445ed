/// Merges that give space back: what tombstones hide, and the tombstones themselves once they hide nothing.
///
/// What they hide is estimated, from the number of tombstones and the mean size of a value on each level below them, as if
/// each level had a version of each key: too much by as many times, at most, as there are levels with tables. How much the newer
/// values of a table hide nobody can tell without looking at the keys; of that the levels' limits leave one copy more
/// at the most where all levels are used, and a ``sweepStep(_:level:after:)`` through all levels none.
extension CompactionPicker {
    /// A merge is worth it that gives back this part of the bytes that lie in its way.
    private static let worthwhilePart = 0.25

    /// What a merge of `upper`, all the way down, is expected to do.
    struct Reclaim {
        /// Bytes that go: what the tombstones hide, and they themselves.
        var gain: Double
        /// Bytes of `upper` and of all that it overlaps on the levels below.
        var span: Double
        var hasTablesBelow: Bool
    }

    func reclaim(of upper: [TableMetadata], on level: Int, _ levels: [[TableMetadata]]) -> Reclaim {
        let tombstones = Double(upper.reduce(0) { $0 + $1.tombstones })
        // Older tables of level 0 among them are hidden as well.
        var gain = upper.count > 1 ? upper.bytesHidden(by: tombstones) : 0
        var below = 0.0
        for lower in levels[(level + 1)...].map({ $0[overlap(of: upper, with: $0)] }) {
            gain += lower.bytesHidden(by: tombstones)
            below += lower.bytes
        }
        // They go themselves once they have come all the way down.
        gain += upper.reduce(0) { $0 + Double($1.tombstoneBytes) }
        return Reclaim(gain: gain, span: upper.bytes + below, hasTablesBelow: below > 0)
    }

    /// The tables whose tombstones give back a quarter of what the merge has to go through, most first.
    func tombstonePlans(_ levels: [[TableMetadata]]) -> [CompactionPlan] {
        guard minReclaimedBytes < .max else { return [] }
        var found: [(plan: CompactionPlan, gain: Double)] = []
        for level in levels.indices {
            for upper in units(of: levels[level], on: level) where upper.contains(where: { $0.tombstones > 0 }) {
                let reclaim = reclaim(of: upper, on: level, levels)
                guard reclaim.gain >= Double(minReclaimedBytes), reclaim.gain >= reclaim.span * Self.worthwhilePart
                else { continue }
                found.append((reclaimingPlan(from: level, upper, levels, reclaim, .tombstones), reclaim.gain))
            }
        }
        // A stable order: the same tables, the same plan.
        return found.enumerated().sorted { ($0.element.gain, $1.offset) > ($1.element.gain, $0.offset) }
            .map(\.element.plan)
    }

    /// The next step of a sweep, which takes everything of `level` down that lies above something, key by key: after all
    /// levels no key has two versions, and no tombstone is left.
    ///
    /// - Parameter after: the last key of the step before on this level; nil: it is the first one.
    /// - Returns: nil: this level is done.
    func sweepStep(
        _ levels: [[TableMetadata]], level: Int, after: [UInt8]?, _ cause: MergeCause
    ) -> (plan: CompactionPlan, last: [UInt8])? {
        for upper in units(of: levels[level], on: level) {
            if let after, !InternalKey.stemPrecedes(after, upper[0].smallest) { continue }
            let reclaim = reclaim(of: upper, on: level, levels)
            guard reclaim.hasTablesBelow || upper.count > 1 || upper.contains(where: { $0.tombstones > 0 }) else {
                continue
            }
            let last = upper.map(\.largest).max(by: InternalKey.precedes)!
            return (reclaimingPlan(from: level, upper, levels, reclaim, cause), last)
        }
        return nil
    }

    /// How large the tables are that a plan will write, as far as can be told without reading its tables: at most, if
    /// none of the values above hides one below, and at least, if all of them do.
    func outputBytes(of plan: CompactionPlan, _ levels: [[TableMetadata]]) -> (least: UInt64, most: UInt64) {
        guard !plan.isMove else { return (0, 0) }
        let upper = levels[plan.level].filter { plan.upper.contains($0.number) }
        let lower = levels[plan.outputLevel].filter { plan.lower.contains($0.number) }
        let hasTablesBelow = levels[(plan.outputLevel + 1)...]
            .contains { !overlap(of: upper + lower, with: $0).isEmpty }
        func kept(_ table: TableMetadata) -> Double {
            Double(table.fileBytes) - (hasTablesBelow ? 0 : Double(table.tombstoneBytes))
        }
        let tombstones = Double(upper.reduce(0) { $0 + $1.tombstones })
        let hidden = upper.count > 1 ? upper.bytesHidden(by: tombstones) : 0
        let below = max(0, lower.reduce(0) { $0 + kept($1) } - lower.bytesHidden(by: tombstones))
        // Tables of level 0 may have the same keys again and again, those of other levels have each of them once.
        let least = max(below, (upper.map(kept).max() ?? 0) - hidden)
        let most = below + max(0, upper.reduce(0) { $0 + kept($1) } - hidden)
        return (UInt64(max(0, least)), UInt64(max(0, most)))
    }

    /// What can only go down together.
    private func units(of tables: [TableMetadata], on level: Int) -> [[TableMetadata]] {
        level == 0 ? groups(of: tables) : tables.map { [$0] }
    }

    private func reclaimingPlan(
        from level: Int, _ upper: [TableMetadata], _ levels: [[TableMetadata]], _ reclaim: Reclaim, _ cause: MergeCause
    ) -> CompactionPlan {
        guard level + 1 < levels.count else {
            // Nothing lies below the last level: its tables are written anew without their tombstones.
            return CompactionPlan(
                level: level, outputLevel: level, upper: upper.map(\.number), lower: [], cause: cause)
        }
        var plan = plan(from: level, upper, levels, cause)
        // What has nothing to hide is written anew, too.
        if !reclaim.hasTablesBelow { plan.isMove = false }
        return plan
    }
}

extension Sequence<TableMetadata> {
    fileprivate var bytes: Double { reduce(0) { $0 + Double($1.fileBytes) } }

    /// About the bytes that so many tombstones hide here: each of them one entry of the mean size.
    func bytesHidden(by tombstones: Double) -> Double {
        let entries = reduce(0) { $0 + Double($1.entries) }
        return entries > 0 ? bytes * Swift.min(1, tombstones / entries) : 0
    }
}
