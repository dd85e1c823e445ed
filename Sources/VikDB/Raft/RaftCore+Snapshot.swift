import VikWire

/// What the core knows of snapshots: when a member needs one, and that one took the place of this node's log (Raft §7).
/// The records themselves pass it by, from shell to shell.
extension RaftCore {
    // MARK: Leader

    /// The member needs entries that this log no longer has.
    mutating func needSnapshot(forPeerAt position: Int) {
        guard leading!.peers[position].mode != .installing else { return }
        guard now >= leading!.peers[position].snapshotRetryAt else {
            leading!.peers[position].isPaused = true
            return
        }
        leading!.peers[position].install()
        snapshotsNeeded.append(leading!.peers[position].member)
    }

    /// Whether `member` is being sent a snapshot, or should be.
    package func isInstalling(_ member: MemberID) -> Bool {
        guard role == .leader, let position = leading!.position(of: member) else { return false }
        return leading!.peers[position].mode == .installing
    }

    /// The transfer to `member` is over.
    ///
    /// - Parameter installed: everything up to here is durable at the member and equal to this log; nil: the transfer
    ///   failed, and is asked for anew once the member is heard again.
    package mutating func snapshotEnded(for member: MemberID, installed: LogIndex?) {
        guard role == .leader, let position = leading!.position(of: member),
            leading!.peers[position].mode == .installing
        else { return }
        if let installed, installed <= log.lastIndex {
            leading!.peers[position].match = max(leading!.peers[position].match, installed)
            leading!.peers[position].probe(from: installed + 1)
            leading!.peers[position].snapshotFailures = 0
            advanceCommit()
        } else {
            leading!.peers[position].probe(from: leading!.peers[position].match + 1)
            leading!.peers[position].snapshotFailed(at: now, pause: UInt64(options.electionTicks.lowerBound))
        }
    }

    mutating func stepSnapshotReply(_ message: Message, from: MemberID) {
        guard role == .leader, let position = leading!.position(of: from) else { return }
        leading!.peers[position].heard(at: now)
        snapshotMessages.append(SnapshotMessage(from: from, message: message))
    }

    // MARK: Follower

    mutating func stepSnapshotOffer(_ offer: SnapshotOffer, from: MemberID) {
        follow(from)
        if isInstalling {
            // The shell says how far it is.
            snapshotMessages.append(SnapshotMessage(from: from, message: .snapshotOffer(offer)))
            return
        }
        // What is committed here the leader has as well; and what it offers is committed.
        if offer.index <= commit || log.term(at: offer.index) == offer.indexTerm {
            commit = max(commit, offer.index)
            verified = max(verified, commit)
            guard log.stable >= offer.index else { return acknowledge(through: offer.index) }
            replyToSnapshot(offer.transfer, .installed(min(commit, log.stable)))
            return
        }
        snapshotMessages.append(SnapshotMessage(from: from, message: .snapshotOffer(offer)))
    }

    mutating func stepSnapshotPart(_ message: Message, from: MemberID) {
        follow(from)
        guard !isInstalling else { return }
        snapshotMessages.append(SnapshotMessage(from: from, message: message))
    }

    /// Tells the leader how a transfer stands, once the term is durable; nothing if there is no leader.
    package mutating func replyToSnapshot(_ transfer: UInt64, _ outcome: SnapshotReply.Outcome) {
        guard role == .follower, let leader else { return }
        sendOnceTermIsDurable(
            .snapshotReply(SnapshotReply(term: term, transfer: transfer, outcome: outcome)), to: leader)
    }

    /// Whether a snapshot that ends with this entry has anything that this node lacks.
    package func needsSnapshot(through index: LogIndex, term: Term) -> Bool {
        index > commit && log.term(at: index) != term
    }

    /// A received snapshot is about to take the place of state and log. The log is quiet.
    package mutating func beginInstalling() {
        precondition(isLogQuiet && role != .leader, "nothing is written while a snapshot is installed")
        isInstalling = true
        if role != .follower { becomeFollower(term: term, leader: nil) }
    }

    /// The snapshot could not be installed: everything is as it was.
    package mutating func installFailed() {
        isInstalling = false
    }

    /// State and log now begin after the entry at `index`, durably. What the log held is gone: it lacked that entry, so
    /// that nothing in it after the commit index was ever committed (hashicorp/raft#697).
    package mutating func installed(through index: LogIndex, term: Term, _ configuration: IndexedConfiguration) {
        precondition(isInstalling && index > commit, "a snapshot brings a node forward")
        isInstalling = false
        log = RaftLog(baseIndex: index, baseTerm: term, lastIndex: index, runs: [])
        // A group that is still out belongs to the log before: of this one it vouches for nothing. Nor are votes asked
        // for with that log.
        inFlight?.lastIndex = 0
        deferred.removeAll { if case .voteRequest = $0.message.message { true } else { false } }
        commit = index
        verified = index
        owesAcknowledgement = false
        membership = Membership(configurations: [configuration])
        forgetNewcomers(namedBy: configuration.configuration)
        hardStateIsDirty = true
        resetElectionTimer()
    }

    // MARK: Compaction

    /// The log store holds nothing at or before `index` any more.
    package mutating func compact(through index: LogIndex) {
        log.compact(through: min(index, applicable))
    }
}
