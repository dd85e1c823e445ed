import VikWire

/// Founding a cluster, who counts, and a member that lost its disk: see *What safety rests on* in docs/architecture.md. How members
/// come and go is in `RaftCore+MembershipChange`.
extension RaftCore {
    /// The newest configuration this node knows of, or what it would found.
    package var configuration: Configuration? { membership.latest }
    /// The cluster's incarnation, once it is known to be committed: a founder that lost the election may hold another.
    package var incarnation: Incarnation {
        membership.committed(commit: commit)?.configuration.incarnation ?? .zero
    }
    /// The incarnation that this log speaks of, committed or not. Enough to listen to a member of it that is new here,
    /// not to refuse one of another.
    package var presumedIncarnation: Incarnation { membership.configurations.first?.configuration.incarnation ?? .zero }
    /// The store that the cluster's first entry records for `member`; zero if this log does not say, or no longer.
    package func foundingStore(of member: MemberID) -> StoreID {
        guard let first = membership.configurations.first, first.index == 1 else { return .zero }
        return first.configuration.member(member)?.store ?? .zero
    }

    /// What this node tells others of its store.
    package var storeState: StoreState { log.lastIndex > 0 ? .entries : term > 0 ? .voted : .empty }

    var otherMembers: [MemberID] {
        (membership.latest?.members ?? []).map(\.id).filter { $0 != id }
    }

    /// A majority of all voters; one that counts for nothing at present is a voter still.
    var quorum: Int { (membership.latest?.voterCount ?? 0) / 2 + 1 }

    var isOnlyMember: Bool { membership.latest?.voters.map(\.id) == [id] && mayVote }

    /// Whether the newest configuration of this log, committed or not, has `member` as a voter.
    func isVoter(_ member: MemberID) -> Bool { membership.latest?.member(member)?.role == .voter }

    /// Whether `member` shows the store that is on record for it: in the configuration that counts, and in every later
    /// one. A replaced store must not count again at a node that does not know yet that its replacement is committed.
    func recognizes(_ member: MemberID) -> Bool {
        guard let shown = shownStores[member],
            membership.counting(commit: commit)?.member(member)?.store == shown, !isDistrusted(member)
        else { return false }
        return membership.pending(commit: commit).allSatisfy {
            $0.configuration.member(member).map { $0.store == shown } ?? true
        }
    }

    /// Whether acknowledgements, confirmations and votes of `member` count.
    func counts(_ member: MemberID) -> Bool { isVoter(member) && recognizes(member) }

    /// Whether this node itself may vote. It must hold, durably, an entry that records its store, and no later one that
    /// records another in its place; in a cluster that is being founded, all founders must have answered. One that a
    /// pending configuration removes still votes: its vote may be what commits that (dissertation §4.2.2).
    package var mayVote: Bool {
        let durable = membership.durable(commit: commit, stable: log.stable)
        guard !durable.isEmpty else { return log.lastIndex == 0 && membership.founding != nil }
        return durable.compactMap { $0.configuration.member(id) }.last?.store == store
    }

    /// Whether this node may stand for election: it votes, the configuration that counts names its store, its disk takes
    /// the entry that a leader starts with, and a quorum can be sent entries.
    ///
    /// A store whose record is not known to be committed does not stand, although it votes: the store before it may
    /// have voted in the term that it would lead. Its vote is counted only by who knows of that commitment, but others
    /// give it theirs by its log alone, so here is the one place to see to it.
    var mayCampaign: Bool {
        guard let own = membership.counting(commit: commit)?.member(id), own.store == store else { return false }
        return mayVote && (isVoter(id) || own.role == .voter) && !isInstalling && !isLogFull && !isDiskStalled
            && canSendToQuorum
    }

    /// Whether `member` may have this node's vote at all. A voter judges by term, vote, log and lease alone
    /// (dissertation §4.1), whether its own log names the candidate, and with this store, or not yet: the candidate's
    /// may hold the entry that does. But not one that a configuration known to be committed has removed; and while the
    /// cluster is being founded, only a founder with the store that has answered as empty.
    func mayBeCandidate(_ member: MemberID) -> Bool {
        guard !membership.configurations.isEmpty else { return recognizes(member) }
        guard let committed = membership.committed(commit: commit) else { return true }
        return committed.configuration.member(member) != nil || isAdded(member, after: committed.index)
    }

    /// Whether a node that this log does not know as a member may be one all the same: the id of a member that was added
    /// is the index of its entry, and this log may not have come that far. What it holds after the newest configuration
    /// that is known to be committed may yet be replaced, and says nothing.
    package func mayBeNew(_ member: MemberID) -> Bool {
        membership.latest?.member(member) == nil
            && isAdded(member, after: membership.committed(commit: commit)?.index ?? 0)
    }

    private func isAdded(_ member: MemberID, after index: LogIndex) -> Bool {
        member.rawValue > index && member.rawValue <= WireLimits.maxIndex && !isFounderID(member)
    }

    /// The ids of founders are hashes, which no log gets as far as.
    private func isFounderID(_ member: MemberID) -> Bool { member.rawValue > 1 << 48 }

    /// The newest configuration that is known to be committed.
    package var committedConfiguration: IndexedConfiguration? { membership.committed(commit: commit) }

    /// Whether this node was a member and a committed entry has removed it.
    package var isRemoved: Bool {
        guard let newest = membership.newest(through: applicable) else { return false }
        return newest.configuration.member(id) == nil
    }

    /// Every founder has answered as empty: this node may vote from now on, and found the cluster if it is elected.
    package mutating func found(_ configuration: Configuration) {
        precondition(configuration.member(id)?.store == store, "a founder is a member of what it founds")
        guard membership.configurations.isEmpty else { return }
        membership.founding = configuration
    }

    /// `member` showed `store` in a handshake at its own address. Only messages of that store are taken from it.
    ///
    /// - Parameters:
    ///   - state: what the store says of itself.
    ///   - end: where its log ends; nil: it does not say.
    ///   - acknowledged: what this node knew of it when it said Hello.
    package mutating func identified(
        _ member: MemberID, store: StoreID, state: StoreState = .empty, end: LogEnd? = nil,
        acknowledged: AcknowledgedLog? = nil
    ) {
        noteOffice()
        heard(member, store: store)
        noteNewcomer(store, state: state, as: member)
        defer {
            if let end { noteLogEnd(end, of: member, store: store, acknowledged: acknowledged) }
        }
        guard shownStores[member] != store else { return }
        shownStores[member] = store
        logEnds.removeAll { $0.member == member }
        distrusted.removeAll { $0 == member }
        // What the earlier store acknowledged says nothing of this one.
        if role == .leader, let position = leading!.position(of: member) {
            let departure = leading!.peers[position].departure
            leading!.peers[position] = Progress(member: member, next: log.lastIndex + 1, heardAt: now)
            leading!.peers[position].departure = departure
            recount()
        }
    }

    /// Who counts has changed, or how many it takes: by a configuration that was appended or committed, or by a store
    /// that was shown. Whatever waits for a majority is counted again, here and nowhere else. Check-quorum and
    /// promotion count anew at each of their ticks.
    mutating func recount() {
        guard role == .leader else { return }
        advanceCommit()
        finishReadRound()
        if let target = leading!.handOver?.target, !counts(target) { leading!.handOver = nil }
    }

    /// A member that lost its disk, and is back with an empty store, gets an entry that records the new one. It is
    /// committed by a quorum of the others, because until then the new store counts for nothing.
    mutating func recordNewStores() {
        noteOffice()
        guard mayChangeMembers, let current = membership.latest else { return }
        for member in current.members where member.id != id {
            guard let shown = shownStores[member.id], shown != member.store,
                !current.members.contains(where: { $0.store == shown }), mayRecord(shown, for: member.id)
            else { continue }
            appendConfiguration(current.changing(member.id) { $0.store = shown })
            return
        }
    }

    mutating func appendConfiguration(_ configuration: Configuration) {
        let index = log.lastIndex + 1
        log.append([Entry(index: index, term: term, kind: .configuration, payload: configuration.encoded())])
        let before = membership.latest
        membership.append(configuration, at: index)
        forgetNewcomers(namedBy: configuration)
        membership.forgetReplaced(applicable: applicable)
        adjustPeers(from: before, to: configuration, at: index)
        recount()
    }

    mutating func recordConfigurations(in entries: some Collection<Entry>) {
        for entry in entries where entry.kind == .configuration {
            // The decoder refused the message otherwise.
            guard let configuration = try? Configuration(from: entry.payload) else {
                preconditionFailure("configuration entry \(entry.index) does not decode")
            }
            membership.append(configuration, at: entry.index)
            forgetNewcomers(namedBy: configuration)
        }
        membership.forgetReplaced(applicable: applicable)
    }
}
