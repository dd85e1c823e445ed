import VikWire

/// Whose store a member shows: one in the place of the one on record, and one that is not what it was.
///
/// A member is one store at a time, the one on record. A machine that was replaced may come back with its old store, and
/// a volume that was not mounted may be again: as long as the store on record is heard, no other is talked to, so that
/// the two do not throw each other out in turns.
extension RaftCore {
    /// Why another store than the one on record is not taken for its member, for the time being.
    package enum StoreRefusal: Equatable, Sendable {
        /// The one on record was heard within the longest election timeout.
        case recordedIsHeard
        /// It has been used, and the one on record has not been silent for ``RaftOptions/usedStorePatienceTicks``.
        case isUsed
    }

    // MARK: Which store is on record

    /// The stores that may be this member's: in the configuration that counts, and in all after it.
    private func mayBeStore(_ store: StoreID, of member: MemberID) -> Bool {
        storeOnRecord(of: member) == store
            || membership.pending(commit: commit).contains { $0.configuration.member(member)?.store == store }
    }

    /// Nil: this log does not say, or none has been recorded yet.
    private func storeOnRecord(of member: MemberID) -> StoreID? {
        guard !membership.configurations.isEmpty,
            let store = membership.counting(commit: commit)?.member(member)?.store, store != .zero
        else { return nil }
        return store
    }

    /// Whether `store` is the one on record for `member`.
    package func isOnRecord(_ store: StoreID, of member: MemberID) -> Bool {
        storeOnRecord(of: member) == store
    }

    /// Something came from `store`, on a connection on which it showed itself as `member`'s.
    package mutating func heard(_ member: MemberID, store: StoreID) {
        if let position = lastHeard.firstIndex(where: { $0.member == member }) {
            // The way of every message: the store on record seldom changes.
            if lastHeard[position].store != store {
                guard isOnRecord(store, of: member) else { return }
                lastHeard[position].store = store
            }
            lastHeard[position].at = now
        } else if isOnRecord(store, of: member) {
            // Those of former members make room.
            if lastHeard.count >= WireLimits.maxMembers {
                lastHeard = lastHeard.filter { isOnRecord($0.store, of: $0.member) }
            }
            lastHeard.append(HeardStore(member: member, store: store, at: now))
        }
    }

    /// The last tick at which the store on record was heard; nil: never.
    private func recordedHeardAt(_ member: MemberID) -> UInt64? {
        guard let heard = lastHeard.first(where: { $0.member == member }), isOnRecord(heard.store, of: member) else {
            return nil
        }
        return heard.at
    }

    /// How long the store on record has been silent to this leader; counted from its election at the earliest, because
    /// before that nobody owed it an answer.
    private mutating func silenceOfRecorded(_ member: MemberID) -> UInt64 {
        noteOffice()
        return now - max(recordedHeardAt(member) ?? 0, officeSince)
    }

    /// The first time that this is asked after an election stands for the election.
    mutating func noteOffice() {
        guard role == .leader, officeTerm != term else { return }
        officeTerm = term
        officeSince = now
        distrusted = []
        for said in logEnds { judge(said) }
    }

    // MARK: Another store than the one on record

    /// Why this node does not talk to `store` as `member` now; nil: it does.
    ///
    /// Only a leader knows for certain which store is on record, and a follower that hears one nearly so. Any other node
    /// may have been away while the one that it has on record was replaced, perhaps by the store of the present leader.
    ///
    /// - Parameter state: what the store says of itself.
    package mutating func refusal(of store: StoreID, state: StoreState, as member: MemberID) -> StoreRefusal? {
        let timeout = UInt64(options.electionTicks.upperBound)
        guard role == .leader || role == .follower && leader != nil && UInt64(electionElapsed) < timeout,
            storeOnRecord(of: member) != nil, !mayBeStore(store, of: member)
        else { return nil }
        guard role == .leader else {
            // A follower hears most of the others never, and misses nothing in their silence.
            return recordedHeardAt(member).map { now - $0 < timeout } ?? false ? .recordedIsHeard : nil
        }
        let silence = silenceOfRecorded(member)
        if silence < timeout { return .recordedIsHeard }
        return isUsed(store, state: state, as: member) && silence < options.usedStorePatienceTicks ? .isUsed : nil
    }

    /// Whether a store may be one that was on record before. One that this node saw empty is not, whatever it has been
    /// sent since.
    private func isUsed(_ store: StoreID, state: StoreState, as member: MemberID) -> Bool {
        let seen = newcomers.first { $0.member == member }
        return seen?.store == store ? seen!.isUsed : state != .empty
    }

    /// A configuration names stores that were newcomers: from now on they are used ones, should they come back after
    /// others have taken their place.
    mutating func forgetNewcomers(namedBy configuration: Configuration) {
        newcomers.removeAll { configuration.member($0.member)?.store == $0.store }
    }

    /// Remembers a store that is not on record and was not refused.
    mutating func noteNewcomer(_ store: StoreID, state: StoreState, as member: MemberID) {
        guard !mayBeStore(store, of: member) else { return }
        let newcomer = NewcomerStore(
            member: member, store: store, isUsed: isUsed(store, state: state, as: member), shownAt: now)
        newcomers.removeAll { $0.member == member }
        if newcomers.count >= WireLimits.maxMembers { newcomers.removeFirst() }
        newcomers.append(newcomer)
    }

    /// Whether the store that `member` shows may be recorded now, in the place of the one on record.
    mutating func mayRecord(_ store: StoreID, for member: MemberID) -> Bool {
        guard storeOnRecord(of: member) != nil else { return true }
        let silence = silenceOfRecorded(member)
        let shownAt = newcomers.first { $0.member == member && $0.store == store }?.shownAt
        if isUsed(store, state: .empty, as: member) { return silence >= options.usedStorePatienceTicks }
        // The silence was long enough when the store was let in, if this leader did that, and has lasted since.
        if let shownAt, shownAt >= officeSince, recordedHeardAt(member).map({ $0 <= shownAt }) ?? true { return true }
        return silence >= UInt64(options.electionTicks.upperBound)
    }

    // MARK: A store that is not what it was

    /// Whether nothing that `member` says counts, because this leader knows its store to have lost something.
    func isDistrusted(_ member: MemberID) -> Bool {
        !distrusted.isEmpty && role == .leader && distrusted.contains(member)
    }

    /// Where this node's log ends, for an answer to a Hello.
    package var logEnd: LogEnd {
        let durable = log.stable
        return LogEnd(
            term: term, durableIndex: durable, durableTerm: log.term(at: durable) ?? 0, commitIndex: applicable,
            commitTerm: log.term(at: applicable) ?? 0)
    }

    /// What `member`'s store has acknowledged to this leader, to be held against its next answer to a Hello.
    package func acknowledgedLog(of member: MemberID) -> AcknowledgedLog? {
        guard role == .leader, let store = shownStores[member], let position = leading!.position(of: member) else {
            return nil
        }
        return AcknowledgedLog(term: term, store: store, index: leading!.peers[position].match)
    }

    /// `member`'s store answered a Hello, and told where its log ends.
    ///
    /// - Parameter acknowledged: what this node knew when it said Hello. Only that is evidence: what the store has
    ///   acknowledged since, it may have acknowledged after it wrote the answer.
    mutating func noteLogEnd(_ end: LogEnd, of member: MemberID, store: StoreID, acknowledged: AcknowledgedLog?) {
        let said = SaidLogEnd(member: member, store: store, end: end)
        logEnds.removeAll { $0.member == member }
        if logEnds.count >= WireLimits.maxMembers { logEnds.removeFirst() }
        logEnds.append(said)
        judge(said, acknowledged: acknowledged)
    }

    /// Whether what a store says of its log can be true, if it is what it was. Of a later term than this leader's nothing
    /// can be said: its leader may have replaced what this one wrote.
    private mutating func judge(_ said: SaidLogEnd, acknowledged: AcknowledgedLog? = nil) {
        guard role == .leader, said.end.term <= term, shownStores[said.member] == said.store,
            let position = leading!.position(of: said.member)
        else { return }
        var finding: StoreVerdict.Finding?
        // What it knows to be committed this leader has as well (leader completeness), or a majority has lost it.
        if said.end.commitIndex > log.lastIndex {
            finding = .contradicted(said.end.commitIndex, leaderTerm: 0)
        } else if said.end.commitIndex > 0, let own = log.term(at: said.end.commitIndex), own != said.end.commitTerm {
            finding = .contradicted(said.end.commitIndex, leaderTerm: own)
        }
        // What matched in this term is never replaced in this term: only a loss makes it less.
        var promised: LogIndex = 0
        if let acknowledged, acknowledged.term == term, acknowledged.store == said.store {
            promised = acknowledged.index
        }
        if case .lost(let index) = leading!.peers[position].finding { promised = max(promised, index) }
        if finding == nil, said.end.durableIndex < promised { finding = .lost(promised) }

        let before = leading!.peers[position].finding
        guard finding != before else { return }
        leading!.peers[position].finding = finding
        distrusted.removeAll { $0 == said.member }
        guard let finding else { return }
        // None of it counts: neither what it acknowledged, nor its vote, nor anything that it still says.
        let departure = leading!.peers[position].departure
        leading!.peers[position] = Progress(member: said.member, next: log.lastIndex + 1, heardAt: now)
        leading!.peers[position].departure = departure
        leading!.peers[position].finding = finding
        distrusted.append(said.member)
        verdicts.append((said.member, finding))
        sendVerdict(finding, to: said.member)
    }

    /// Tells a member that its store is not what it was; again and again, as messages may be lost.
    mutating func sendVerdict(_ finding: StoreVerdict.Finding, to member: MemberID) {
        // Who does not tell where its log ends does not understand this either, and has no verdict.
        send(.storeVerdict(StoreVerdict(term: term, finding: finding)), to: member)
    }

    /// A leader says that this store is not what it was. This node looks for itself.
    mutating func stepStoreVerdict(_ verdict: StoreVerdict, from: MemberID) {
        guard role != .leader, !isInstalling else { return }
        switch verdict.finding {
        case .lost(let index):
            guard log.stable < index else { return }
            noteLoss(.acknowledged(index, durable: log.stable, leader: from, term: verdict.term))
        case .contradicted(let index, let leaderTerm):
            guard index <= commit else { return }
            noteContradiction(at: index, leaderTerm: leaderTerm, leader: from)
        }
    }

    /// The leader has another entry than the one that is known here to be committed, or none: a majority has lost
    /// acknowledged writes, and this store holds them.
    package mutating func noteContradiction(at index: LogIndex, leaderTerm: Term, leader: MemberID) {
        guard let own = log.term(at: index), own != leaderTerm else { return }
        noteLoss(.committed(index, term: own, leaderTerm: leaderTerm, leader: leader))
    }

    private mutating func noteLoss(_ loss: StoreLoss) {
        if storeLoss == nil { storeLoss = loss }
    }
}

/// A store on record, and when it was last heard. A plain value.
struct HeardStore {
    let member: MemberID
    var store: StoreID
    var at: UInt64
}

/// A store that a member showed and that is not on record. A plain value.
struct NewcomerStore {
    let member: MemberID
    let store: StoreID
    let isUsed: Bool
    let shownAt: UInt64
}

/// What a store last said of its log. A plain value.
struct SaidLogEnd {
    let member: MemberID
    let store: StoreID
    let end: LogEnd
}

/// Why a node must not go on with its store: acknowledged writes were lost, here or by a majority. A plain value.
package enum StoreLoss: Equatable, Sendable {
    /// This store acknowledged everything up to an index, to the leader of `term`, and its log ends before that.
    case acknowledged(LogIndex, durable: LogIndex, leader: MemberID, term: Term)
    /// The leader has another entry than the one of `term` that is committed here; `leaderTerm` 0: none.
    case committed(LogIndex, term: Term, leaderTerm: Term, leader: MemberID)
}
