import VikWire

/// Handing the office over (dissertation §3.10), on request or because this node should not lead.
extension RaftCore {
    package var isHandingOver: Bool { leading?.handOver != nil }

    /// Begins to hand the office over: no more proposals are taken until another node leads or the shortest election
    /// timeout is over.
    ///
    /// - Parameter target: nil: the voter that has most of the log.
    /// - Returns: false if this node does not lead or hands over already, or the target does not answer or is no voter.
    package mutating func handOver(to target: MemberID? = nil) -> Bool {
        guard role == .leader, !isHandingOver, let target = successor(target) else { return false }
        leading!.handOver = HandOver(target: target, since: now)
        return true
    }

    /// The voter that has most of the log, among those that answer.
    private func successor(_ wanted: MemberID?) -> MemberID? {
        leading!.peers
            .filter { counts($0.member) && isResponsive($0) && (wanted == nil || $0.member == wanted) }
            .max { ($0.match, $1.member) < ($1.match, $0.member) }?.member
    }

    /// Whether something arrived from the member within the longest election timeout.
    func isResponsive(_ peer: Progress) -> Bool {
        now - peer.heardAt < UInt64(options.electionTicks.upperBound)
    }

    mutating func handOverIfPossible() {
        // A leader that a committed entry has removed, or made a learner, has led up to here and no further.
        if !isVoter(id), membership.latestIndex <= commit, log.lastIndex > 0 { return resign() }
        // What was proposed here is answered first.
        guard let handOver = leading!.handOver, !handOver.isTargetTold, commit == log.lastIndex,
            let position = leading!.position(of: handOver.target), leading!.peers[position].match == log.lastIndex
        else { return }
        leading!.handOver!.isTargetTold = true
        send(.timeoutNow(TimeoutNow(term: term)), to: handOver.target)
    }

    /// A hand-over that takes too long is given up: the target may be slow, or its votes.
    mutating func endHandOver() {
        guard let handOver = leading!.handOver,
            now - handOver.since >= UInt64(options.electionTicks.lowerBound)
        else { return }
        leading!.handOver = nil
    }

    /// Leaves the office at once, and tells the best successor so that nobody has to wait for a timeout.
    mutating func resign() {
        if let target = successor(nil) { send(.timeoutNow(TimeoutNow(term: term)), to: target) }
        becomeFollower(term: term, leader: nil)
    }

    mutating func stepTimeoutNow(from: MemberID) {
        guard role == .follower, from == leader, mayCampaign else { return }
        campaign(isHandOver: true)
    }

    /// Ticks since the group that is being written was handed out; nil: none is.
    package var ticksOfWriteOut: UInt64? { inFlight.map { now - $0.since } }

    /// Whether a write to the own disk has taken longer than the longest election timeout, or finds no room for as long.
    package var isDiskStalled: Bool {
        let limit = UInt64(options.electionTicks.upperBound)
        if let group = inFlight, now - group.since >= limit { return true }
        if let since = logIsFullSince, now - since >= limit { return true }
        return false
    }
}
