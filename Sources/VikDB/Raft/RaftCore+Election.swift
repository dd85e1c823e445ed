import VikWire

/// Elections: Raft §5.2 and §5.4.1, pre-vote (dissertation §9.6), check-quorum (§6.2).
extension RaftCore {
    mutating func resetElectionTimer() {
        electionElapsed = 0
        electionTimeout = Int.random(in: options.electionTicks, using: &random)
    }

    mutating func becomeFollower(term newTerm: Term, leader newLeader: MemberID?) {
        if newTerm > term {
            term = newTerm
            vote = .none
            hardStateIsDirty = true
            verified = 0
            owesAcknowledgement = false
        }
        // In the same term the vote stands: clearing it would let this node vote twice.
        if role == .leader { lostLeadership = true }
        role = .follower
        leader = newLeader
        leading = nil
        votes = [:]
        ownVoteSequence = nil
        resetElectionTimer()
    }

    mutating func campaignIfAllowed() {
        resetElectionTimer()
        guard mayCampaign else {
            // No leader is heard here either: whoever stands may have this node's vote.
            if role == .follower { leader = nil }
            return
        }
        // Pre-vote: ask first, so that a node that was cut off does not come back with a high term and unseat a
        // leader that a majority hears. The term is not touched.
        role = .preCandidate
        leader = nil
        votes = [:]
        ownVoteSequence = nil
        requestVotes(isPreVote: true, term: term + 1)
        recordVote(from: id, isGranted: true)
    }

    /// - Parameter isHandOver: the leader asked for it.
    mutating func campaign(isHandOver: Bool = false) {
        role = .candidate
        leader = nil
        term += 1
        vote = id
        hardStateIsDirty = true
        verified = 0
        owesAcknowledgement = false
        votes = [:]
        resetElectionTimer()
        // The own vote counts, and the requests leave, only once term, vote and the claimed log are durable.
        ownVoteSequence = sequenceOfEverything
        requestVotes(isPreVote: false, term: term, isHandOver: isHandOver)
    }

    private mutating func requestVotes(isPreVote: Bool, term: Term, isHandOver: Bool = false) {
        let request = VoteRequest(
            term: term, isPreVote: isPreVote, isHandOver: isHandOver, lastIndex: log.lastIndex, lastTerm: log.lastTerm)
        for peer in otherMembers where isVoter(peer) {
            if let sequence = sequenceOfEverything {
                hold(.voteRequest(request), to: peer, until: sequence)
            } else {
                send(.voteRequest(request), to: peer)
            }
        }
    }

    mutating func stepVoteRequest(_ request: VoteRequest, from: MemberID) {
        // A node that hears from a leader, or is one that a majority hears, has no reason for an election (§6.2).
        let hearsLeader = role == .leader || (leader != nil && electionElapsed < options.electionTicks.lowerBound)
        // But the leader itself may have asked for it.
        guard !hearsLeader || request.isHandOver, mayBeCandidate(from) else { return }
        if !request.isPreVote, request.term > term {
            becomeFollower(term: request.term, leader: nil)
        }
        let isFree = request.isPreVote ? request.term > term : vote == .none || vote == from
        let isGranted =
            request.term >= term && isFree && mayVote
            && (request.isPreVote || leader == nil)
            && log.isUpToDate(index: request.lastIndex, term: request.lastTerm)
        if isGranted && !request.isPreVote {
            if vote == .none {
                vote = from
                hardStateIsDirty = true
            }
            resetElectionTimer()
        }
        let reply = VoteReply(
            term: isGranted ? request.term : term, isPreVote: request.isPreVote, isGranted: isGranted)
        sendOnceTermIsDurable(.voteReply(reply), to: from)
    }

    mutating func stepVoteReply(_ reply: VoteReply, from: MemberID) {
        guard recognizes(from) else { return }
        switch role {
        case .preCandidate where reply.isPreVote:
            // A granted pre-vote carries the term that was asked for; any other is of an earlier attempt.
            guard !reply.isGranted || reply.term == term + 1 else { return }
            recordVote(from: from, isGranted: reply.isGranted)
        case .candidate where !reply.isPreVote:
            recordVote(from: from, isGranted: reply.isGranted)
        default: break
        }
    }

    mutating func recordVote(from member: MemberID, isGranted: Bool) {
        guard role == .preCandidate || role == .candidate, isVoter(member) else { return }
        if votes[member] == nil { votes[member] = isGranted }
        let granted = votes.values.count { $0 }
        let refused = votes.count - granted
        if granted >= quorum {
            if role == .preCandidate { campaign() } else { becomeLeader() }
        } else if refused >= quorum {
            // Lost for certain: follow, in the same term and with the same vote, until the next timeout.
            becomeFollower(term: term, leader: nil)
        }
    }

    private mutating func becomeLeader() {
        precondition(role == .candidate && vote == id, "only an elected candidate leads")
        role = .leader
        leader = id
        votes = [:]
        electionElapsed = 0
        let next = log.lastIndex + 1
        leading = Leadership(peers: otherMembers.map { Progress(member: $0, next: next, heardAt: now) })
        // An entry of the own term commits what earlier terms left (§5.4.2, §8). In a new cluster it is the one that
        // gives the cluster its identity.
        if log.lastIndex == 0, let founding = membership.founding {
            appendConfiguration(founding)
        } else {
            log.append([Entry(index: next, term: term, kind: .noOp)])
        }
        noteOffice()
        if ownRead != nil { enqueueOwnRead() }
    }

    mutating func tickLeader() {
        leading!.heartbeatElapsed += 1
        if leading!.heartbeatElapsed >= options.heartbeatTicks {
            leading!.heartbeatElapsed = 0
            broadcastHeartbeat()
            recordNewStores()
            promoteCaughtUp()
        }
        endDepartures()
        endHandOver()
        if isDiskStalled,
            leading!.peers.contains(where: { counts($0.member) && isResponsive($0) && $0.match > log.stable })
        {
            // Nothing that is proposed here can be answered, and there is someone whose disk takes what this one does not.
            resign()
            return
        }
        guard electionElapsed >= options.electionTicks.lowerBound else { return }
        electionElapsed = 0
        let active = leading!.peers.count { $0.isActive && counts($0.member) && canSend(to: $0.member) }
        if active + (isVoter(id) ? 1 : 0) < quorum {
            // No majority answers: someone else may lead by now, so this node forgets that it did.
            becomeFollower(term: term, leader: nil)
            return
        }
        for index in leading!.peers.indices { leading!.peers[index].isActive = false }
    }
}
