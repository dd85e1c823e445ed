/// What happened while plans ran. A plain value.
struct ModelCoverage {
    enum Counter: String, CaseIterable {
        case flushes
        case moves
        case merges = "merges finished"
        case deepLevels = "jobs with tables below level 1"
        case tombstonesDropped = "tombstones dropped"
        case level0Stalls = "writes held up by level 0"
        case memtableStalls = "writes held up by sealed memtables"
        case manifestsRenewed = "manifests renewed between two starts"
        case viewsRead = "views read later"
        case viewsReleased = "views released"
        case turns = "cursors turned round"
        case pages = "ranges cut into pages"
        case reversePages = "ranges from their end cut into pages"
        case reopened = "engines reopened"
        case replayed = "entries applied again after a start"
        case fullDisks = "jobs refused by a full disk"
        case postponed = "merges postponed for want of room"
        case sweepsCutShort = "sweeps left in the midst"
        case reclaimed = "engines cleared by merges of tombstones"
        case leftAfterClearing = "engines with tables after all was deleted"
        case snapshots = "snapshots installed"
        case crashesInFlush = "crashes in a flush"
        case crashesInMerge = "crashes in a merge"
        case crashesInRenewal = "crashes while a manifest takes over"
        case crashesInRead = "crashes in a read"
        case crashesInInstall = "crashes while a snapshot is taken"
        case crashesInStart = "crashes in a start"
        case keptNone = "crashes that kept nothing unsynced"
        case keptSome = "crashes that kept some of it"
        case keptAll = "crashes that kept all of it"
    }

    private var counts: [Counter: Int] = [:]

    subscript(counter: Counter) -> Int {
        get { counts[counter, default: 0] }
        set { counts[counter] = newValue }
    }

    mutating func add(_ other: ModelCoverage) {
        counts.merge(other.counts, uniquingKeysWith: +)
    }

    /// What never happened.
    var missing: [String] {
        Counter.allCases.filter { self[$0] == 0 }.map(\.rawValue)
    }

    var report: String {
        Counter.allCases.map { "  \($0.rawValue): \(self[$0])" }.joined(separator: "\n")
    }
}
