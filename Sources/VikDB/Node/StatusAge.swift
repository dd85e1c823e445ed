/// How old a status is, and what may be told of an old one: a loop that hangs goes on claiming what it published last.
extension NodeStatus {
    /// Past this age nobody is told who leads, nor sent there, and the node is not ready.
    package static let maxAgeMilliseconds: UInt64 = 2_000
    /// Past this one the node does not live: the loop will hardly go on by itself.
    package static let maxSilenceMilliseconds: UInt64 = 5_000

    /// Time since the node's loop last ticked, at the moment of asking; 0 where none ticks.
    package var ageMilliseconds: UInt64 {
        guard let tickedAt else { return 0 }
        let now = MonotonicClock.nanoseconds
        return (now - min(now, tickedAt)) / 1_000_000
    }

    package var isStale: Bool { ageMilliseconds > Self.maxAgeMilliseconds }

    /// Why nothing that this status says is sure, in a sentence; nil: it is no older than `limit`.
    package func silence(pastMilliseconds limit: UInt64 = maxAgeMilliseconds) -> String? {
        let age = ageMilliseconds
        return age > limit ? "the node hangs: its loop has not run for \(age / 1_000) s" : nil
    }

    /// The first of what keeps the node from serving.
    package var complaint: String? { trouble ?? diskStall ?? applyStall }

    /// The status as it may be told: without a word about who leads, if it is stale.
    package var told: NodeStatus {
        guard let silence = silence() else { return self }
        var status = self
        status.role = .unknown
        status.leaderID = nil
        status.leaderAPIAddress = nil
        for place in status.members.indices { status.members[place].isLeader = false }
        status.trouble = failure ?? silence
        return status
    }
}
