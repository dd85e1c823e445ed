import VikWire

/// One change of the members.
package enum MembershipChange: Equatable, Sendable {
    /// A new member, at first a learner.
    case add(label: String, address: String, becomesVoter: Bool)
    case promote(MemberID)
    case remove(MemberID)
    /// The same member at another replication address.
    case move(MemberID, address: String)
}

/// Why a change of the members was not proposed.
package enum MembershipRefusal: Error, Equatable, Sendable {
    case notLeader
    /// A change that came before is not committed yet, or this leader has not committed an entry of its term: try again.
    case busy(String)
    /// The change makes no sense, or would lose the majority; the sentence says why.
    case impossible(String)
}

/// Changing the members one at a time (dissertation §4.1 to §4.4). A configuration counts from the moment at which it
/// stands in a log, and rolls back with it.
extension RaftCore {
    /// One change at a time, and only after an entry of the current term is committed (Ongaro 2015): two leaders must not
    /// both change what the other does not know.
    var mayChangeMembers: Bool {
        role == .leader && membership.latestIndex <= commit && log.term(at: commit) == term && !isHandingOver
    }

    /// Proposes a change.
    ///
    /// - Returns: index and term of its entry; the change is made once that is committed.
    package mutating func propose(_ change: MembershipChange) throws(MembershipRefusal) -> (index: LogIndex, term: Term)
    {
        guard role == .leader, let current = membership.latest else { throw .notLeader }
        guard mayChangeMembers else {
            throw .busy("another change of the members, or the election of this leader, is not committed yet")
        }
        let index = log.lastIndex + 1
        let changed = try configuration(current, after: change, at: index)
        try requireMajority(of: changed)
        appendConfiguration(changed)
        return (index, term)
    }

    private func configuration(
        _ current: Configuration, after change: MembershipChange, at index: LogIndex
    ) throws(MembershipRefusal) -> Configuration {
        switch change {
        case .add(let label, let address, let becomesVoter):
            if let member = current.members.first(where: { $0.label == label }) {
                throw .impossible("\(label) is a member already, at \(member.address)")
            }
            try requireFree(address, in: current)
            guard current.members.count < WireLimits.maxMembers else {
                throw .impossible("the cluster has \(WireLimits.maxMembers) members, the most that it may have")
            }
            // Its store is recorded when it shows one. The id is the entry's index, never used before or after.
            return current.adding(
                Member(
                    id: MemberID(rawValue: index), store: .zero, role: becomesVoter ? .voterToBe : .learner,
                    address: address, label: label))
        case .promote(let id):
            let member = try member(id, of: current)
            guard member.role != .voter else { throw .impossible("\(member.label) is a voter already") }
            guard let learner = fitLearner(id) else {
                throw .busy("\(member.label) does not answer, or has no copy of the log yet")
            }
            guard isCaughtUp(learner) else {
                throw .busy(
                    "\(member.label) lacks \(lag(of: learner)) entries still, and takes longer than an election timeout "
                        + "for what is new")
            }
            return current.changing(id) { $0.role = .voter }
        case .remove(let id):
            let member = try member(id, of: current)
            guard member.role != .voter || current.voters.count > 1 else {
                throw .impossible("\(member.label) is the only voter")
            }
            return current.removing(id)
        case .move(let id, let address):
            let member = try member(id, of: current)
            guard !HostPort.areSame(member.address, address) else {
                throw .impossible("\(member.label) is at \(address) already")
            }
            try requireFree(address, in: current)
            return current.changing(id) { $0.address = address }
        }
    }

    private func member(_ id: MemberID, of current: Configuration) throws(MembershipRefusal) -> Member {
        guard let member = current.member(id) else { throw .impossible("no member has the id \(id)") }
        return member
    }

    private func requireFree(_ address: String, in current: Configuration) throws(MembershipRefusal) {
        if let member = current.members.first(where: { HostPort.areSame($0.address, address) }) {
            throw .impossible("\(address) is the address of \(member.label)")
        }
    }

    /// A change after which the voters that answer are no majority would stop the cluster.
    private func requireMajority(of changed: Configuration) throws(MembershipRefusal) {
        let voters = changed.voters
        let quorum = voters.count / 2 + 1
        let answering = voters.count { voter in
            voter.id == id || leading!.peers.contains { $0.member == voter.id && isFit($0) }
        }
        guard answering >= quorum else {
            throw .impossible(
                "only \(answering) of the \(voters.count) voters after the change answer, \(quorum) are needed: the "
                    + "cluster would stop")
        }
    }

    /// Whether a member answers and could vote: it holds the entry that records its store, durably.
    private func isFit(_ peer: Progress) -> Bool {
        recognizes(peer.member) && isResponsive(peer) && peer.match >= membership.latestIndex
    }

    /// A learner that could vote; nil: it does not answer, or has no copy of the log yet.
    private func fitLearner(_ member: MemberID) -> Progress? {
        leading!.peers.first { $0.member == member && isFit($0) }
    }

    /// How many committed entries a learner lacks.
    private func lag(of learner: Progress) -> UInt64 { commit - min(commit, learner.match) }

    /// Whether a learner lacks little, in entries or in time: over a link with a long delay it is always many entries
    /// behind a busy leader, and yet never longer than an election timeout (dissertation §4.2.1).
    private func isCaughtUp(_ learner: Progress) -> Bool {
        lag(of: learner) <= options.maxPromotionLag
            || learner.keepsUp(within: UInt64(options.electionTicks.lowerBound), now: now)
    }

    /// Makes a learner that is to be a voter one, as soon as it has caught up.
    mutating func promoteCaughtUp() {
        guard let current = membership.latest else { return }
        for member in current.members where member.role != .voter {
            if let position = leading!.position(of: member.id) {
                leading!.peers[position].followRound(last: log.lastIndex, now: now)
            }
        }
        guard mayChangeMembers else { return }
        for member in current.members where member.role == .voterToBe {
            guard let learner = fitLearner(member.id), isCaughtUp(learner) else { continue }
            if (try? propose(.promote(member.id))) != nil { return }
        }
    }

    /// Those the leader sends to: the members, and for a while those that were removed.
    mutating func adjustPeers(from before: Configuration?, to after: Configuration, at index: LogIndex) {
        guard role == .leader else { return }
        for member in after.members where member.id != id {
            if let position = leading!.position(of: member.id) {
                leading!.peers[position].departure = nil
            } else {
                leading!.peers.append(Progress(member: member.id, next: index, heardAt: now))
            }
        }
        for member in before?.members ?? [] where member.id != id && after.member(member.id) == nil {
            guard let position = leading!.position(of: member.id) else { continue }
            leading!.peers[position].departure = Progress.Departure(member: member, index: index, until: nil)
        }
        leading!.peers.sort { $0.member < $1.member }
    }

    /// A removed member has learned so once it has the entry and its commit; one that does not answer learns it from the
    /// first member that it dials.
    mutating func endDepartures() {
        for position in leading!.peers.indices.reversed() {
            guard let departure = leading!.peers[position].departure, departure.index <= commit else { continue }
            if let until = departure.until {
                if now >= until { leading!.peers.remove(at: position) }
            } else {
                leading!.peers[position].departure!.until = now + UInt64(2 * options.electionTicks.upperBound)
            }
        }
    }

    /// Whom this node talks to, and where: the other members of the configuration that counts and of all after it, and
    /// those that a leader still tells that they were removed. Who is being removed must still acknowledge it, and who
    /// moves is at its old address until that is committed.
    package var peers: [Member] {
        var peers: [Member] = []
        let counting = membership.counting(commit: commit).map { [$0] } ?? []
        for configuration in counting + membership.pending(commit: commit).map(\.configuration) {
            for member in configuration.members where member.id != id && !peers.contains(where: { $0.id == member.id })
            {
                peers.append(member)
            }
        }
        for departure in leading?.peers.compactMap({ $0.departure?.member }) ?? []
        where !peers.contains(where: { $0.id == departure.id }) {
            peers.append(departure)
        }
        return peers
    }

    /// What a leader knows of the other members, for status and metrics.
    package struct PeerProgress: Sendable, Equatable {
        package let member: MemberID
        package let match: LogIndex
        package let isInstalling: Bool
        /// Ticks since something last arrived.
        package let silence: UInt64
        /// As it said last; nil: it said nothing yet.
        package let isDiskFull: Bool?
    }

    package var progressOfPeers: [PeerProgress] {
        (leading?.peers ?? []).map {
            PeerProgress(
                member: $0.member, match: $0.match, isInstalling: $0.mode == .installing, silence: now - $0.heardAt,
                isDiskFull: $0.isDiskFull)
        }
    }
}
