import NIOCore
import VikWire

/// Raft (Ongaro and Ousterhout 2014; Ongaro's dissertation for pre-vote §9.6, check-quorum §6.2 and read index §6.4), as
/// a pure value: no I/O, no clock, no thread, no global randomness.
///
/// The shell feeds it messages, ticks and completions, then takes a ``Ready`` that says what to persist, send and fetch.
/// RaftCore itself holds back what must not leave before it is durable, so a shell cannot send too early.
///
/// The rest of it stands by topic: `RaftCore+Election`, `+Replication`, `+ReadIndex`, `+Membership`, `+Stores`,
/// `+Snapshot`, `+HandOver`.
package struct RaftCore {
    package let id: MemberID
    package let store: StoreID
    package let options: RaftOptions

    // Persistent state (Raft figure 2) and the picture of the log.
    package internal(set) var term: Term
    var vote: MemberID
    package internal(set) var commit: LogIndex
    var log: RaftLog

    // Office.
    package internal(set) var role: RaftRole = .follower
    package internal(set) var leader: MemberID?
    var leading: Leadership?
    var votes: [MemberID: Bool] = [:]
    /// The group whose durability lets a candidate count its own vote.
    var ownVoteSequence: UInt64?
    /// Follower: known to match the log of this term's leader up to here; an acknowledgement may be owed for it.
    var verified: LogIndex = 0
    var owesAcknowledgement = false

    // Membership.
    var membership: Membership
    /// The stores that the other members showed in their handshakes.
    var shownStores: [MemberID: StoreID] = [:]
    /// The tick since which a member cannot be sent entries.
    var appendsCutOff: [MemberID: UInt64] = [:]
    /// Of each other member: the store on record, when it was heard; another that it showed; what a store said of its
    /// log. One of each for a member at most.
    var lastHeard: [HeardStore] = []
    var newcomers: [NewcomerStore] = []
    var logEnds: [SaidLogEnd] = []
    /// Members whose store is not what it was, at a leader.
    var distrusted: [MemberID] = []
    /// The term of the office that this node last held, and when it was first asked about it.
    var officeTerm: Term = 0
    var officeSince: UInt64 = 0
    /// Why this node must not go on with its store; it takes no more messages.
    package internal(set) var storeLoss: StoreLoss?

    // Time, in ticks.
    var now: UInt64 = 0
    var electionElapsed = 0
    var electionTimeout = 0
    var random: SplitMix64

    // Reads of this node: at most one context is out; the shell gathers further reads behind it.
    var ownRead: OwnRead?

    // What the next Ready will carry, and what waits for a sync.
    var inFlight: InFlightGroup?
    var nextSequence: UInt64 = 1
    var hardStateIsDirty = false
    /// The commit index that was last handed out to be saved.
    var savedCommit: LogIndex
    var outbox: [Outgoing] = []
    var deferred: [(sequence: UInt64, message: Outgoing)] = []
    var fetches: [FetchRequest] = []
    var confirmedRead: ConfirmedRead?
    var lostLeadership = false
    var snapshotsNeeded: [MemberID] = []
    var snapshotMessages: [SnapshotMessage] = []
    var verdicts: [(member: MemberID, finding: StoreVerdict.Finding)] = []
    /// A snapshot is taking the place of log and state: no append is taken until it has.
    package internal(set) var isInstalling = false
    /// The log store has no room, since this tick: entries stay in memory, votes are still saved.
    var logIsFullSince: UInt64?
    /// Told to the leader; of no effect on votes, since alike nodes fill up together.
    package var isDiskFull = false

    struct InFlightGroup {
        let sequence: UInt64
        /// The tick at which it was handed out.
        let since: UInt64
        /// Last index of the group that still stands: lowered when a later truncation cuts into it, so that the
        /// completion of an old write never vouches for what replaced it.
        var lastIndex: LogIndex
        let hasHardState: Bool
    }

    /// - Parameters:
    ///   - state: what was on disk.
    ///   - seed: of the election timeouts; different on every node.
    package init(id: MemberID, store: StoreID, options: RaftOptions, restoring state: RestoredState, seed: UInt64) {
        self.id = id
        self.store = store
        self.options = options
        self.term = state.hardState.term
        self.vote = state.hardState.vote
        self.log = RaftLog(
            baseIndex: state.baseIndex, baseTerm: state.baseTerm, lastIndex: state.lastIndex, runs: state.termRuns)
        self.commit = max(state.baseIndex, min(state.hardState.commit, state.lastIndex))
        self.savedCommit = commit
        self.membership = Membership(configurations: state.configurations)
        self.random = SplitMix64(seed: seed)
        precondition(log.lastTerm <= max(term, state.baseTerm), "no entry is of a later term than the node has seen")
        resetElectionTimer()
    }

    // MARK: What the shell asks

    package var lastIndex: LogIndex { log.lastIndex }
    /// Entries up to here may be applied: committed, and durable in this node's own log (design rule 3).
    package var applicable: LogIndex { min(commit, log.stable) }
    package var isLeader: Bool { role == .leader }
    /// Bytes proposed and not yet committed, or committed by the others' disks and not yet on this node's own.
    package var unsettledBytes: Int { log.cachedBytes(after: applicable) }
    /// The entry before the first one that this log holds.
    package var baseIndex: LogIndex { log.baseIndex }
    /// Nothing is being written and nothing waits to be.
    package var isLogQuiet: Bool { inFlight == nil && (!log.hasUnemitted || isLogFull) }

    /// The term of the entry at `index`, if the log has it.
    package func termOfEntry(at index: LogIndex) -> Term? { log.term(at: index) }

    /// Cached entries from `first` on; nil if they must be read from disk.
    package func cachedEntries(from first: LogIndex, through last: LogIndex, maxBytes: Int, maxCount: Int) -> [Entry]? {
        log.entries(from: first, through: last, maxBytes: maxBytes, maxCount: maxCount)
    }

    // MARK: Inputs

    /// One tick passed. Ticks are the only time there is.
    package mutating func tick() {
        now += 1
        electionElapsed += 1
        if role == .leader {
            tickLeader()
        } else if role == .candidate, ownVoteSequence != nil {
            // The own vote is still on its way to a slow disk: a higher term would only queue behind it.
        } else if electionElapsed >= electionTimeout || (isOnlyMember && role == .follower) {
            campaignIfAllowed()
        }
        tickOwnRead()
    }

    /// Proposes entries in order, all or none.
    ///
    /// - Returns: the index of the first and the term they have; nil if this node does not lead or too much waits to
    ///   be committed already (nothing was proposed).
    package mutating func propose(_ payloads: [ByteBuffer]) -> (first: LogIndex, term: Term)? {
        guard role == .leader, !isHandingOver, !payloads.isEmpty, unsettledBytes < options.maxUncommittedBytes else {
            return nil
        }
        let first = log.lastIndex + 1
        log.append(Entry.batch(from: first, term: term, kind: .command, payloads: payloads))
        return (first, term)
    }

    /// Takes a message from the store `sender` of member `from`.
    ///
    /// - Throws: what the message says that no member can; then nothing has changed.
    package mutating func step(_ message: Message, from: MemberID, store sender: StoreID) throws(PeerViolation) {
        // Terms grow by one an election. A leap would use up all there are, on every disk, at one message's word.
        guard from != id, shownStores[from] == sender, message.term <= WireLimits.maxTerm, storeLoss == nil,
            !isDistrusted(from), message.term <= term + Self.maxTermLeap
        else { return heard(from, store: sender) }
        if message.term >= term, let violation = violation(of: message, from: from) { throw violation }
        heard(from, store: sender)
        if case .voteRequest(let request) = message {
            // A vote request alone does not make this node follow: it may be refused without a trace.
            stepVoteRequest(request, from: from)
            return
        }
        if message.term < term {
            stepStale(message, from: from)
            return
        }
        if message.term > term, !isGrantedPreVote(message) {
            becomeFollower(term: message.term, leader: nil)
        }
        switch message {
        case .voteRequest: break
        case .voteReply(let reply): stepVoteReply(reply, from: from)
        case .append(let request): stepAppend(request, from: from)
        case .appendReply(let reply): stepAppendReply(reply, from: from)
        case .heartbeat(let heartbeat): stepHeartbeat(heartbeat, from: from)
        case .heartbeatReply(let reply): stepHeartbeatReply(reply, from: from)
        case .readIndexRequest(let request): stepReadIndexRequest(request, from: from)
        case .readIndexReply(let reply): stepReadIndexReply(reply, from: from)
        case .snapshotOffer(let offer): stepSnapshotOffer(offer, from: from)
        case .snapshotChunk, .snapshotEnd: stepSnapshotPart(message, from: from)
        case .snapshotReply: stepSnapshotReply(message, from: from)
        case .timeoutNow: stepTimeoutNow(from: from)
        case .storeVerdict(let verdict): stepStoreVerdict(verdict, from: from)
        }
    }

    private static let maxTermLeap: Term = 1 << 32

    /// A message of an earlier term. Its sender learns of this term, or a node that was cut off at a higher term could
    /// neither follow nor be elected (etcd#8243).
    private mutating func stepStale(_ message: Message, from: MemberID) {
        switch message {
        case .append, .heartbeat:
            sendOnceTermIsDurable(.heartbeatReply(HeartbeatReply(term: term, round: 0, verified: 0)), to: from)
        case .voteRequest, .voteReply, .appendReply, .heartbeatReply, .readIndexRequest, .readIndexReply,
            .snapshotOffer, .snapshotChunk, .snapshotEnd, .snapshotReply, .timeoutNow, .storeVerdict:
            break
        }
    }

    /// The group `sequence` is durable.
    package mutating func persisted(_ sequence: UInt64) {
        guard let group = inFlight, group.sequence == sequence else {
            preconditionFailure("groups complete in order, one at a time")
        }
        inFlight = nil
        log.markStable(through: group.lastIndex)
        releaseDeferred(through: sequence)
        if let own = ownVoteSequence, own <= sequence {
            ownVoteSequence = nil
            electionElapsed = 0
            recordVote(from: id, isGranted: true)
        }
        if role == .leader {
            advanceCommit()
        } else {
            acknowledgeIfOwed()
        }
    }

    /// The log store has no room for the entries of group `sequence`; its hard state is saved. The entries are handed out
    /// again after ``logHasRoom()``.
    package mutating func persistenceRefused(_ sequence: UInt64) {
        guard let group = inFlight, group.sequence == sequence else {
            preconditionFailure("groups complete in order, one at a time")
        }
        inFlight = nil
        log.takeBackUnstable()
        if logIsFullSince == nil { logIsFullSince = now }
        // A vote request claims a log that did not become durable. All else that waited claims term and vote alone.
        deferred.removeAll { if case .voteRequest = $0.message.message { $0.sequence <= sequence } else { false } }
        releaseDeferred(through: sequence)
        if ownVoteSequence != nil { becomeFollower(term: term, leader: nil) }
    }

    /// There is room again.
    package mutating func logHasRoom() {
        logIsFullSince = nil
    }

    package var isLogFull: Bool { logIsFullSince != nil }

    /// Everything that happened since the last call.
    package mutating func takeReady() -> Ready {
        if role == .leader {
            handOverIfPossible()
        }
        if role == .leader {
            startReadRound()
            replicateToAll()
        }
        var ready = Ready()
        ready.persist = takePersistGroup()
        swap(&ready.messages, &outbox)
        swap(&ready.fetches, &fetches)
        swap(&ready.confirmedRead, &confirmedRead)
        swap(&ready.lostLeadership, &lostLeadership)
        swap(&ready.snapshotsNeeded, &snapshotsNeeded)
        swap(&ready.snapshotMessages, &snapshotMessages)
        swap(&ready.verdicts, &verdicts)
        log.trimCache(to: options.entryCacheBytes, notAfter: commit)
        return ready
    }

    private mutating func takePersistGroup() -> PersistGroup? {
        guard inFlight == nil else { return nil }
        // Whose votes count after a restart depends on the configuration that is known to be committed then.
        if let newest = membership.newest(through: applicable), newest.index > savedCommit { hardStateIsDirty = true }
        // Entries of a log that a snapshot is about to replace would land in the new one.
        let takesEntries = !isLogFull && !isInstalling
        guard hardStateIsDirty || log.hasUnemitted && takesEntries else { return nil }
        let group = PersistGroup(
            sequence: nextSequence, hardState: hardStateIsDirty ? hardState : nil,
            entries: takesEntries ? log.takeUnemitted() : [])
        inFlight = InFlightGroup(
            sequence: nextSequence, since: now, lastIndex: log.emitted, hasHardState: hardStateIsDirty)
        nextSequence += 1
        if hardStateIsDirty { savedCommit = applicable }
        hardStateIsDirty = false
        return group
    }

    /// What may be saved now; the shell saves the commit index now and then and at a clean stop.
    ///
    /// The commit index in it is bounded by what is durable: saved before the entries that it speaks of, it would
    /// commit after a crash whatever older entries the disk still has in their place.
    package var hardState: HardState { HardState(term: term, vote: vote, commit: applicable) }

    // MARK: Sending

    func isGrantedPreVote(_ message: Message) -> Bool {
        if case .voteReply(let reply) = message { return reply.isPreVote && reply.isGranted }
        return false
    }

    mutating func send(_ message: Message, to member: MemberID) {
        outbox.append(Outgoing(to: member, message: message))
    }

    /// Sends what claims term and vote, once both are durable.
    mutating func sendOnceTermIsDurable(_ message: Message, to member: MemberID) {
        if hardStateIsDirty {
            hold(message, to: member, until: nextSequence)
        } else if let group = inFlight, group.hasHardState {
            hold(message, to: member, until: group.sequence)
        } else {
            send(message, to: member)
        }
    }

    /// Keeps a message until the group `sequence` is durable. Of each kind only the newest to a member is kept, which
    /// says all that those before it did: behind a disk that stalls they would grow without bound.
    mutating func hold(_ message: Message, to member: MemberID, until sequence: UInt64) {
        deferred.removeAll { $0.message.to == member && message.supersedes($0.message.message) }
        deferred.append((sequence, Outgoing(to: member, message: message)))
    }

    /// The group with which everything known now is durable; nil if it is already.
    var sequenceOfEverything: UInt64? {
        hardStateIsDirty || log.hasUnemitted ? nextSequence : inFlight?.sequence
    }

    private mutating func releaseDeferred(through sequence: UInt64) {
        guard !deferred.isEmpty else { return }
        for waiting in deferred where waiting.sequence <= sequence {
            // What was promised in an earlier term is void; the term has moved on since.
            if waiting.message.message.term >= term { outbox.append(waiting.message) }
        }
        deferred.removeAll { $0.sequence <= sequence }
    }
}

package enum RaftRole: Sendable {
    case follower
    case preCandidate
    case candidate
    case leader
}

/// What RaftCore starts from: the recovered log's picture and the hard state.
package struct RestoredState: Sendable {
    package var hardState = HardState()
    package var baseIndex: LogIndex = 0
    package var baseTerm: Term = 0
    package var lastIndex: LogIndex = 0
    package var termRuns: [TermRun] = []
    /// In log order, the engine's stored one first.
    package var configurations: [IndexedConfiguration] = []

    package init() {}
}

package struct IndexedConfiguration: Equatable, Sendable {
    package let index: LogIndex
    package let configuration: Configuration

    package init(index: LogIndex, configuration: Configuration) {
        self.index = index
        self.configuration = configuration
    }
}

extension Message {
    /// Whether this message, sent later to the same member, makes `other` needless.
    fileprivate func supersedes(_ other: Message) -> Bool {
        switch (self, other) {
        case (.heartbeatReply, .heartbeatReply): true
        case (.voteRequest(let new), .voteRequest(let old)): new.isPreVote == old.isPreVote
        // A refusal may answer an older request.
        case (.voteReply(let new), .voteReply(let old)):
            new.isPreVote == old.isPreVote && (new.isGranted || !old.isGranted)
        case (.appendReply(let new), .appendReply(let old)):
            switch (new.outcome, old.outcome) {
            case (.matched, .matched), (.rejected, .rejected): true
            case (.matched, .rejected), (.rejected, .matched): false
            }
        case (.snapshotReply(let new), .snapshotReply(let old)):
            switch (new.outcome, old.outcome) {
            case (.wants, .wants), (.installed, .installed), (.refused, .refused): true
            default: false
            }
        default: false
        }
    }
}
