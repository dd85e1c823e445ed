import VikWire

/// Linearizable reads from every node: ReadIndex, dissertation §6.4.
extension RaftCore {
    /// Whether this node's state may be shown to clients at all: not while it is joining or installing a snapshot.
    package var mayServeReads: Bool { mayVote && !isInstalling }
    package var isReadPending: Bool { ownRead != nil }

    /// Asks for an index that every read begun before this call may be answered at. The answer comes as
    /// ``Ready/confirmedRead``; if there is no leader, only once there is one.
    ///
    /// - Parameter context: never used before by this process. One at a time: it replaces an earlier unanswered one.
    package mutating func requestReadIndex(_ context: UInt64) {
        ownRead = OwnRead(context: context)
        if role == .leader { enqueueOwnRead() } else { askLeader() }
    }

    mutating func enqueueOwnRead() {
        leading!.waitingReads.append(.own(context: ownRead!.context))
    }

    private mutating func askLeader() {
        guard let leader else { return }
        ownRead!.elapsed = 0
        ownRead!.askedLeader = leader
        send(.readIndexRequest(ReadIndexRequest(term: term, context: ownRead!.context)), to: leader)
    }

    /// A request or its answer may get lost, and leaders change.
    mutating func tickOwnRead() {
        guard ownRead != nil, role != .leader else { return }
        ownRead!.elapsed += 1
        if ownRead!.askedLeader != leader || ownRead!.elapsed >= options.electionTicks.lowerBound / 2 {
            askLeader()
        }
    }

    /// A heartbeat came: the leader reaches this node. If it has not answered for as long as the time between two, its
    /// answer may have been lost while it did not, as it is when this node has just restarted.
    mutating func askAgainIfUnanswered() {
        guard let ownRead, ownRead.askedLeader == leader, ownRead.elapsed >= options.heartbeatTicks else { return }
        askLeader()
    }

    mutating func stepReadIndexRequest(_ request: ReadIndexRequest, from: MemberID) {
        guard role == .leader, leading!.position(of: from) != nil else { return }
        let read = ReadOrigin.follower(from, context: request.context)
        // A follower waits for its newest context only, so a repeated or replaced one takes no second place.
        leading!.waitingReads.removeAll { waiting in
            if case .follower(from, _) = waiting { return true }
            return false
        }
        leading!.waitingReads.append(read)
    }

    /// One round at a time; reads that arrive meanwhile share the next. No read is answered before an entry of this
    /// term is committed: until then the commit index may lag behind what an earlier leader acknowledged.
    mutating func startReadRound() {
        guard leading!.round == nil, !leading!.waitingReads.isEmpty, log.term(at: commit) == term else { return }
        leading!.roundCount += 1
        leading!.round = ReadRound(number: leading!.roundCount, index: commit, reads: leading!.waitingReads)
        leading!.waitingReads.removeAll(keepingCapacity: true)
        if quorum > 1 { broadcastHeartbeat() }
        finishReadRound()
    }

    mutating func finishReadRound() {
        guard let round = leading!.round else { return }
        // A confirmation names its round, so it was sent after the round began (design rule 5).
        let confirmations = leading!.peers.count { $0.confirmedRound >= round.number && counts($0.member) }
        guard confirmations + (isVoter(id) ? 1 : 0) >= quorum else { return }
        leading!.round = nil
        for read in round.reads {
            switch read {
            case .own(let context):
                confirm(context: context, index: round.index)
            case .follower(let member, let context):
                let reply = ReadIndexReply(term: term, context: context, index: round.index)
                send(.readIndexReply(reply), to: member)
            }
        }
    }

    mutating func stepReadIndexReply(_ reply: ReadIndexReply, from: MemberID) {
        guard role == .follower, from == leader else { return }
        // The leader has committed this much; as far as the logs are known to agree, so has this node.
        if !isInstalling { commit = max(commit, min(reply.index, verified)) }
        confirm(context: reply.context, index: reply.index)
    }

    private mutating func confirm(context: UInt64, index: LogIndex) {
        guard ownRead?.context == context else { return }
        ownRead = nil
        confirmedRead = ConfirmedRead(context: context, index: index)
    }
}
