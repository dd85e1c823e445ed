import VikWire

/// What only a leader keeps; gone when it loses its office. A plain value.
struct Leadership {
    /// Sorted by member id.
    var peers: [Progress]
    var heartbeatElapsed = 0
    /// Read requests that the next round will confirm, and those that the current one does.
    var waitingReads: [ReadOrigin] = []
    var round: ReadRound?
    var roundCount: UInt64 = 0
    /// To whom the office is being handed over.
    var handOver: HandOver?

    func position(of member: MemberID) -> Int? {
        peers.firstIndex { $0.member == member }
    }
}

/// A hand-over in progress: no proposals are taken until the target has the whole log and is told to campaign, or the
/// time for it is over (dissertation §3.10). A plain value.
struct HandOver {
    let target: MemberID
    let since: UInt64
    var isTargetTold = false
}

/// Who asked for a read index.
enum ReadOrigin: Equatable {
    case own(context: UInt64)
    case follower(MemberID, context: UInt64)
}

/// One round of heartbeats that proves, once a majority has answered, that this node still led when it began.
struct ReadRound {
    let number: UInt64
    /// The commit index when the round began.
    let index: LogIndex
    let reads: [ReadOrigin]
}

/// The read context that this node's shell waits for.
struct OwnRead {
    let context: UInt64
    var elapsed = 0
    /// The leader it was last sent to.
    var askedLeader: MemberID?
}
