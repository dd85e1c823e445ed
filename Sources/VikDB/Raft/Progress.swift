import DequeModule
import VikWire

/// What a leader knows of one other member's log, and how it sends to it. A plain value.
///
/// *Probing*, one append at a time, finds where the two logs agree; *replicating* streams appends ahead of their
/// acknowledgements, inside a window bounded in messages and bytes; *installing* sends no appends, because the member
/// needs entries that this log no longer has and is sent a snapshot.
struct Progress {
    enum Mode: Equatable {
        case probing
        case replicating
        case installing
    }

    let member: MemberID
    var mode: Mode = .probing
    /// Known to be durable there and equal to this log up to here.
    var match: LogIndex = 0
    /// First index to send next.
    var next: LogIndex
    /// Probing: an append is out and nothing more is sent before its answer or the next heartbeat's.
    var isPaused = false
    /// Replicating: entries from disk are on their way for the next append.
    var isFetching = false
    /// Whether anything arrived since the leader last counted its quorum.
    var isActive = true
    /// What its last answer to a heartbeat said of its disk; nil: none came.
    var isDiskFull: Bool?
    /// The tick at which something last arrived.
    var heardAt: UInt64
    /// The tick before which no snapshot is sent, and how many transfers in a row have failed.
    var snapshotRetryAt: UInt64 = 0
    var snapshotFailures = 0
    /// Its store is not what it was: nothing is sent to it but this, and nothing that it says counts.
    var finding: StoreVerdict.Finding?
    /// A member that was removed gets the log until it has learned so; nil: it is a member.
    var departure: Departure?
    /// Newest read-index round it confirmed.
    var confirmedRound: UInt64 = 0
    /// `match` when the last heartbeat was answered: no change with appends in flight hints at a lost one.
    var matchAtHeartbeat: LogIndex = 0

    /// A learner: the end of the log when its present round of catching up began, and when that was.
    private var round: (last: LogIndex, since: UInt64)?
    /// How long the last round took.
    private var lastRoundTicks: UInt64?

    struct Departure {
        /// What the configuration said of it.
        let member: Member
        /// The entry that removed it.
        let index: LogIndex
        /// The tick at which the leader stops waiting for it to learn of that; nil: the entry is not committed yet.
        var until: UInt64?
    }

    private struct InFlight {
        let lastIndex: LogIndex
        let bytes: Int
    }
    private var window: Deque<InFlight> = []
    private(set) var windowBytes = 0

    init(member: MemberID, next: LogIndex, heardAt: UInt64) {
        self.member = member
        self.next = next
        self.heardAt = heardAt
    }

    var hasInFlight: Bool { !window.isEmpty }

    func canSend(_ options: RaftOptions) -> Bool {
        if isFetching || finding != nil { return false }
        return switch mode {
        case .installing: false
        case .probing: !isPaused
        case .replicating: window.count < options.maxInflightAppends && windowBytes < options.maxInflightBytes
        }
    }

    mutating func sent(through last: LogIndex, bytes: Int) {
        switch mode {
        case .installing:
            break
        case .probing:
            isPaused = true
        case .replicating:
            next = last + 1
            window.append(InFlight(lastIndex: last, bytes: bytes))
            windowBytes += bytes
        }
    }

    /// Takes an acknowledgement; false if it says nothing new.
    mutating func acknowledge(_ index: LogIndex) -> Bool {
        while let first = window.first, first.lastIndex <= index {
            window.removeFirst()
            windowBytes -= first.bytes
        }
        let isNews = index > match
        match = max(match, index)
        if mode == .probing {
            mode = .replicating
            isPaused = false
            next = match + 1
        } else {
            next = max(next, match + 1)
        }
        return isNews
    }

    /// What comes next is a snapshot.
    mutating func install() {
        probe(from: match + 1)
        mode = .installing
    }

    /// A transfer failed: the next one begins after a pause, which doubles up to 64 times its first length.
    mutating func snapshotFailed(at now: UInt64, pause: UInt64) {
        isPaused = true
        snapshotRetryAt = now + pause << UInt64(min(snapshotFailures, 6))
        snapshotFailures += 1
    }

    /// A learner catches up in rounds: each begins with the end of the log and is over once the learner has it
    /// (dissertation §4.2.1).
    mutating func followRound(last: LogIndex, now: UInt64) {
        if let round {
            guard match >= round.last else { return }
            lastRoundTicks = now - round.since
        }
        round = (last, now)
    }

    /// Whether it gets the newest entries, and the last round and the present one took less than `limit`.
    func keepsUp(within limit: UInt64, now: UInt64) -> Bool {
        guard mode == .replicating, let last = lastRoundTicks, let round else { return false }
        return last < limit && now - round.since < limit
    }

    /// Something arrived from the member.
    mutating func heard(at tick: UInt64) {
        isActive = true
        heardAt = tick
    }

    /// Forgets what is in flight and looks again for the place where the logs agree, from `next` on.
    mutating func probe(from next: LogIndex) {
        mode = .probing
        isPaused = false
        isFetching = false
        self.next = max(next, match + 1)
        window.removeAll()
        windowBytes = 0
    }
}
