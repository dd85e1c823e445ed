import NIOCore
import VikWire

/// Log replication and commitment: Raft §5.3 and §5.4.2, with pipelined appends (dissertation §10.2.1).
extension RaftCore {
    // MARK: Leader

    /// Sends each follower what its window has room for. Called once a batch, so that all proposals of a batch share
    /// an append.
    mutating func replicateToAll() {
        for index in leading!.peers.indices {
            while leading!.peers[index].next <= log.lastIndex, leading!.peers[index].canSend(options) {
                guard sendAppend(toPeerAt: index) else { break }
            }
        }
    }

    /// - Returns: whether more may follow at once.
    @discardableResult
    private mutating func sendAppend(toPeerAt position: Int) -> Bool {
        let peer = leading!.peers[position]
        guard let previousTerm = log.term(at: peer.next - 1) else {
            needSnapshot(forPeerAt: position)
            return false
        }
        guard
            let entries = log.entries(
                from: peer.next, through: log.lastIndex, maxBytes: options.appendBytes,
                maxCount: WireLimits.maxEntriesPerAppend)
        else {
            // The probe that finds the place needs no entries; only once it is found are they worth a disk read.
            if peer.mode == .probing {
                sendProbe(toPeerAt: position)
            } else {
                leading!.peers[position].isFetching = true
                fetches.append(
                    FetchRequest(
                        member: peer.member, from: peer.next,
                        through: min(log.stable, peer.next + UInt64(WireLimits.maxEntriesPerAppend) - 1),
                        maxBytes: options.appendBytes))
            }
            return false
        }
        sendAppend(entries, previousTerm: previousTerm, toPeerAt: position)
        return true
    }

    private mutating func sendAppend(_ entries: [Entry], previousTerm: Term, toPeerAt position: Int) {
        // No copy of the peer: a second reference to its window would make `sent` copy it.
        let previousIndex = leading!.peers[position].next - 1
        let request = AppendRequest(
            term: term, previousIndex: previousIndex, previousTerm: previousTerm, commit: commit, entries: entries)
        send(.append(request), to: leading!.peers[position].member)
        let bytes = entries.reduce(0) { $0 + $1.bytes.readableBytes }
        leading!.peers[position].sent(through: previousIndex + UInt64(entries.count), bytes: bytes)
    }

    /// An append without entries: finds out where the logs agree.
    private mutating func sendProbe(toPeerAt position: Int) {
        let peer = leading!.peers[position]
        guard let previousTerm = log.term(at: peer.next - 1) else { return needSnapshot(forPeerAt: position) }
        let request = AppendRequest(
            term: term, previousIndex: peer.next - 1, previousTerm: previousTerm, commit: commit, entries: [])
        send(.append(request), to: peer.member)
        if peer.mode == .probing { leading!.peers[position].isPaused = true }
    }

    /// Entries from disk for a slow follower; empty if they could not be read.
    package mutating func fetched(_ entries: [Entry], for member: MemberID) {
        guard role == .leader, let position = leading!.position(of: member), leading!.peers[position].isFetching else {
            return
        }
        leading!.peers[position].isFetching = false
        let peer = leading!.peers[position]
        guard peer.mode == .replicating, let first = entries.first, let last = entries.last, first.index == peer.next,
            log.term(at: first.index) == first.term, log.term(at: last.index) == last.term,
            let previousTerm = log.term(at: peer.next - 1)
        else { return }
        sendAppend(entries, previousTerm: previousTerm, toPeerAt: position)
    }

    mutating func stepAppendReply(_ reply: AppendReply, from: MemberID) {
        guard role == .leader, let position = leading!.position(of: from) else { return }
        leading!.peers[position].heard(at: now)
        if leading!.peers[position].mode == .installing {
            // It has caught up without a snapshot, from an earlier leader perhaps.
            guard case .matched(let index) = reply.outcome, index >= log.baseIndex else { return }
            leading!.peers[position].probe(from: index + 1)
        }
        switch reply.outcome {
        case .matched(let index):
            guard index <= log.lastIndex else { return }
            if leading!.peers[position].acknowledge(index) { advanceCommit() }
        case .rejected(let previousIndex, let hintIndex, let hintTerm):
            let peer = leading!.peers[position]
            switch peer.mode {
            case .installing:
                break
            case .replicating:
                guard previousIndex > peer.match else { return }
                leading!.peers[position].probe(from: peer.match + 1)
            case .probing:
                guard previousIndex == peer.next - 1 else { return }
                let place = log.lastPossibleMatch(index: min(hintIndex, previousIndex), term: hintTerm).index
                let next = min(place + 1, previousIndex)
                if next <= log.baseIndex {
                    // The two may agree only before the first entry that this log still has.
                    needSnapshot(forPeerAt: position)
                } else {
                    leading!.peers[position].probe(from: next)
                }
            }
        }
    }

    /// Commits the newest entry of the current term that a quorum has on disk, and with it all before (§5.4.2). The
    /// leader counts itself only for what its own disk holds.
    mutating func advanceCommit() {
        var durable: [LogIndex] = isVoter(id) ? [log.stable] : []
        for peer in leading!.peers where counts(peer.member) { durable.append(peer.match) }
        guard durable.count >= quorum else { return }
        durable.sort(by: >)
        let candidate = durable[quorum - 1]
        guard candidate > commit, log.term(at: candidate) == term else { return }
        let before = membership.committed(commit: commit)?.index
        commit = candidate
        if membership.committed(commit: commit)?.index != before { recount() }
    }

    /// The connection to `member` broke: what was in flight may be lost.
    package mutating func disconnected(_ member: MemberID) {
        guard role == .leader, let position = leading!.position(of: member),
            leading!.peers[position].mode != .installing
        else { return }
        leading!.peers[position].probe(from: leading!.peers[position].match + 1)
    }

    /// Whether the connection that carries entries to `member` is open, as far as the transport has said. Heartbeats have
    /// another one: a leader whose appends are cut off, and its heartbeats not, would lead for ever and commit nothing.
    package mutating func setAppends(to member: MemberID, areCutOff: Bool) {
        if !areCutOff {
            appendsCutOff[member] = nil
        } else if appendsCutOff[member] == nil {
            let others = peers
            appendsCutOff = appendsCutOff.filter { cutOff in others.contains { $0.id == cutOff.key } }
            appendsCutOff[member] = now
        }
    }

    /// A connection that broke is made again in less time than the shortest election timeout, if it can be.
    func canSend(to member: MemberID) -> Bool {
        guard let since = appendsCutOff[member] else { return true }
        return now - since < UInt64(options.electionTicks.lowerBound)
    }

    /// Whether a majority of the voters can be sent entries.
    var canSendToQuorum: Bool {
        guard !appendsCutOff.isEmpty, let voters = membership.latest?.voters else { return true }
        return voters.count { $0.id == id || canSend(to: $0.id) } >= quorum
    }

    mutating func broadcastHeartbeat() {
        for peer in leading!.peers {
            if let finding = peer.finding {
                sendVerdict(finding, to: peer.member)
                continue
            }
            send(
                .heartbeat(Heartbeat(term: term, commit: min(commit, peer.match), round: leading!.roundCount)),
                to: peer.member)
        }
    }

    mutating func stepHeartbeatReply(_ reply: HeartbeatReply, from: MemberID) {
        guard role == .leader, let position = leading!.position(of: from) else { return }
        leading!.peers[position].heard(at: now)
        leading!.peers[position].isPaused = false
        leading!.peers[position].isDiskFull = reply.isDiskFull
        if counts(from), reply.round > leading!.peers[position].confirmedRound {
            leading!.peers[position].confirmedRound = min(reply.round, leading!.roundCount)
            finishReadRound()
        }
        let peer = leading!.peers[position]
        // No progress since the last heartbeat although appends are out: one may be lost. An empty append finds out.
        if peer.mode == .replicating, peer.hasInFlight || peer.match < peer.next - 1,
            peer.match == peer.matchAtHeartbeat
        {
            sendProbe(toPeerAt: position)
        }
        // Where the logs agree is not found yet, and there is no entry to ask with. A follower that restarted asks for
        // it too although all it has was acknowledged: it takes no commit index beyond what it knows to match.
        if peer.mode == .probing, peer.next > log.lastIndex {
            sendProbe(toPeerAt: position)
        }
        // It restarted, and a late acknowledgement of the process before made it look as if it knew where it stands.
        if peer.mode == .replicating, !peer.hasInFlight, reply.verified < min(commit, peer.match) {
            sendProbe(toPeerAt: position)
        }
        leading!.peers[position].matchAtHeartbeat = peer.match
    }

    // MARK: Follower

    /// Follows the leader of the current term. That it is the only one, ``violation(of:from:)`` has seen to.
    mutating func follow(_ newLeader: MemberID) {
        precondition(role != .leader, "two leaders in term \(term): \(id) and \(newLeader)")
        if role != .follower {
            becomeFollower(term: term, leader: newLeader)
        } else {
            precondition(leader == nil || leader == newLeader, "two leaders in term \(term)")
            leader = newLeader
            electionElapsed = 0
        }
    }

    mutating func stepHeartbeat(_ heartbeat: Heartbeat, from: MemberID) {
        follow(from)
        // What is being installed must still be ahead of it when that is done.
        if !isInstalling { commit = max(commit, min(heartbeat.commit, verified)) }
        let reply = HeartbeatReply(
            term: term, round: heartbeat.round, verified: min(verified, log.lastIndex), isDiskFull: isDiskFull)
        sendOnceTermIsDurable(.heartbeatReply(reply), to: from)
        askAgainIfUnanswered()
    }

    mutating func stepAppend(_ request: AppendRequest, from: MemberID) {
        follow(from)
        // Neither has a place for entries; the leader sends them again.
        if isInstalling || isLogFull { return }
        var previousIndex = request.previousIndex
        var previousTerm = request.previousTerm
        var entries = request.entries[...]
        if previousIndex < commit {
            // A leader's log holds all that is committed (leader completeness), so the logs agree up to there.
            entries = entries.drop { $0.index <= commit }
            if entries.isEmpty {
                acknowledge(through: commit)
                return
            }
            previousIndex = commit
            previousTerm = log.term(at: commit)!
        }
        guard log.term(at: previousIndex) == previousTerm else {
            // The entry at `previousIndex` itself is known to differ.
            let hint = log.lastPossibleMatch(index: previousIndex - 1, term: previousTerm)
            let reply = AppendReply(
                term: term,
                outcome: .rejected(
                    previousIndex: request.previousIndex, hintIndex: hint.index, hintTerm: hint.term))
            sendOnceTermIsDurable(.appendReply(reply), to: from)
            return
        }
        // Only a conflict truncates: a delayed append that carries a prefix of the log must not (openraft 9540c904).
        let lastNew = previousIndex + UInt64(entries.count)
        entries = entries.drop { log.term(at: $0.index) == $0.term }
        if let first = entries.first {
            if first.index <= log.lastIndex { truncateLog(from: first.index) }
            log.append(entries)
            recordConfigurations(in: entries)
        }
        commit = max(commit, min(request.commit, lastNew))
        acknowledge(through: lastNew)
    }

    private mutating func truncateLog(from index: LogIndex) {
        precondition(index > commit, "a committed entry is never replaced (entry \(index), commit \(commit))")
        log.truncate(from: index)
        membership.truncate(from: index)
        if let group = inFlight { inFlight!.lastIndex = min(group.lastIndex, index - 1) }
    }

    mutating func acknowledge(through index: LogIndex) {
        verified = max(verified, index)
        owesAcknowledgement = true
        if log.stable >= verified { acknowledgeIfOwed() }
    }

    /// Tells the leader what is durable here and matches its log. While a sync is out, all appends that arrive share
    /// the acknowledgement that follows it.
    mutating func acknowledgeIfOwed() {
        guard owesAcknowledgement, let leader, role == .follower else { return }
        owesAcknowledgement = log.stable < verified
        let reply = AppendReply(term: term, outcome: .matched(min(verified, log.stable)))
        sendOnceTermIsDurable(.appendReply(reply), to: leader)
    }
}
