import VikWire

/// Members that got a snapshot and have not caught up with the log since. One that needs the next snapshot before it has
/// was outrun: the log grew beyond what is kept of it while the snapshot was on its way, and would so again. A plain
/// value.
///
/// Neither remedy alone ends that. A higher rate does not help where the link or a disk is what is slow, and more of the
/// log does not where the log grows faster than the rate that an operator chose for better times. So each repetition in a
/// row doubles both: whatever it costs is bounded, and less than to send the whole state again and again.
struct SnapshotRepetitions {
    /// 64 times the rate, and the log.
    static let maxDoublings = 6

    private struct CatchingUp {
        /// It has caught up once it has this entry: the last one when its snapshot was installed.
        var goal: LogIndex
        /// Since its last snapshot was installed it has needed none: a transfer that failed was not outrun.
        var isInstalled = true
        var repetitions = 0
        /// Bytes of log that were too few, the first time.
        var outrunBytes: UInt64 = 0

        var doublings: Int { min(repetitions, maxDoublings) }
    }

    private var members: [MemberID: CatchingUp] = [:]

    /// The snapshot of `member` is installed; the log ends with `last`.
    mutating func installed(at member: MemberID, last: LogIndex) {
        members[member, default: CatchingUp(goal: last)].goal = last
        members[member]!.isInstalled = true
    }

    /// `member` needs a snapshot, when the log has `logBytes`.
    ///
    /// - Returns: which repetition in a row it is; nil: it is none.
    mutating func needed(by member: MemberID, logBytes: UInt64) -> Int? {
        guard let before = members[member], before.isInstalled else { return nil }
        members[member]!.isInstalled = false
        if before.repetitions == 0 { members[member]!.outrunBytes = logBytes }
        members[member]!.repetitions += 1
        return before.repetitions + 1
    }

    /// Only a leader counts them, of members that are there and have not caught up.
    mutating func forget(_ hasCaughtUp: (_ member: MemberID, _ goal: LogIndex) -> Bool) {
        guard !members.isEmpty else { return }
        members = members.filter { !hasCaughtUp($0.key, $0.value.goal) }
    }

    /// How often the rate of a snapshot for `member` is doubled.
    func doublings(for member: MemberID) -> Int { members[member]?.doublings ?? 0 }

    /// Up to which size the log keeps what `member` needs; nil: no further than for any other.
    func logBytesKept(for member: MemberID, beyond maxBytes: UInt64) -> UInt64? {
        guard let member = members[member], member.repetitions > 0 else { return nil }
        return min(max(maxBytes, member.outrunBytes), .max >> Self.maxDoublings) << member.doublings
    }
}
