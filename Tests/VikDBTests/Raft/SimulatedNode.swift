import NIOCore
import VikDB
import VikWire

/// One member: a RaftCore and the disk under it, with the shell's part played by the test. A plain value.
///
/// Every message that leaves is held against the disk: nothing may claim what is not durable (design rule 1).
struct SimulatedNode {
    let id: MemberID
    let options: RaftOptions
    var disk: SimulatedDisk
    private(set) var core: RaftCore
    /// The group that is being written.
    private(set) var pending: PersistGroup?
    private(set) var fetches: [FetchRequest] = []
    private(set) var confirmedReads: [ConfirmedRead] = []
    private(set) var snapshotsNeeded: [MemberID] = []
    private(set) var snapshotMessages: [SnapshotMessage] = []
    private(set) var timesDeposed = 0
    /// Claims that were not durable when they left.
    private(set) var violations: [String] = []
    /// Messages that no member sends which keeps to Raft.
    private(set) var refusals: [PeerViolation] = []

    init(id: MemberID, disk: SimulatedDisk, options: RaftOptions, seed: UInt64) {
        self.id = id
        self.disk = disk
        self.options = options
        core = RaftCore(id: id, store: disk.store, options: options, restoring: disk.restored, seed: seed)
    }

    /// Gives the core an input and takes what it wants done; `false` leaves that for the next call, as a shell does that
    /// has more input waiting.
    mutating func input(takingReady: Bool = true, _ body: (inout RaftCore) -> Void) -> [Outgoing] {
        body(&core)
        return takingReady ? takeReady() : []
    }

    /// Gives the core a message. One that it refuses changes nothing.
    mutating func step(
        _ message: Message, from: MemberID, store: StoreID, takingReady: Bool = true
    ) -> [Outgoing] {
        do throws(PeerViolation) {
            try core.step(message, from: from, store: store)
        } catch {
            refusals.append(error)
        }
        return takingReady ? takeReady() : []
    }

    mutating func takeRefusals() -> [PeerViolation] {
        defer { refusals = [] }
        return refusals
    }

    mutating func takeReady() -> [Outgoing] {
        let ready = core.takeReady()
        if let group = ready.persist {
            precondition(pending == nil, "one group at a time")
            pending = group
        }
        fetches += ready.fetches
        if let read = ready.confirmedRead { confirmedReads.append(read) }
        snapshotsNeeded += ready.snapshotsNeeded
        snapshotMessages += ready.snapshotMessages
        if ready.lostLeadership { timesDeposed += 1 }
        for outgoing in ready.messages {
            if let claim = falseClaim(of: outgoing) { violations.append("\(id) sent \(claim): \(outgoing.message)") }
        }
        return ready.messages
    }

    /// The write that is out becomes durable.
    mutating func persist(takingReady: Bool = true) -> [Outgoing] {
        guard let group = pending else { return [] }
        pending = nil
        disk.write(group)
        return input(takingReady: takingReady) { $0.persisted(group.sequence) }
    }

    /// The disk has no room for the entries of the write that is out; its hard state is saved.
    mutating func refuseWrite() -> [Outgoing] {
        guard let group = pending else { return [] }
        pending = nil
        disk.write(group, entryLimit: 0)
        return input { $0.persistenceRefused(group.sequence) }
    }

    /// A snapshot that was received takes the place of state and log.
    mutating func install(through index: LogIndex, term: Term, _ configuration: IndexedConfiguration) -> [Outgoing] {
        disk.install(through: index, term: term, configuration)
        return input { $0.installed(through: index, term: term, configuration) }
    }

    /// Loses what is not durable, and starts again from the disk.
    ///
    /// - Parameter torn: how many entries of the group that was being written got to disk, its hard state too; nil:
    ///   nothing of the group did.
    mutating func restart(torn: Int? = nil, seed: UInt64) {
        if let group = pending, let torn { disk.write(group, entryLimit: torn) }
        self = SimulatedNode(id: id, disk: disk, options: options, seed: seed)
    }

    mutating func takeFetches() -> [FetchRequest] {
        defer { fetches = [] }
        return fetches
    }

    mutating func takeConfirmedReads() -> [ConfirmedRead] {
        defer { confirmedReads = [] }
        return confirmedReads
    }

    mutating func takeSnapshotsNeeded() -> [MemberID] {
        defer { snapshotsNeeded = [] }
        return snapshotsNeeded
    }

    mutating func takeSnapshotMessages() -> [Message] {
        defer { snapshotMessages = [] }
        return snapshotMessages.map(\.message)
    }

    /// What `outgoing` claims and the disk does not hold.
    private func falseClaim(of outgoing: Outgoing) -> String? {
        switch outgoing.message {
        case .voteRequest(let request):
            if !request.isPreVote, disk.hardState.term != request.term || disk.hardState.vote != id {
                return "a vote request without a durable vote for itself"
            }
            // A pre-vote claims a log that the sender may have given up since; it binds nobody.
            if !request.isPreVote, core.role == .candidate,
                disk.lastIndex != request.lastIndex || disk.lastTerm != request.lastTerm
            {
                return "a vote request with a log that is not durable"
            }
        case .voteReply(let reply) where reply.isGranted && !reply.isPreVote:
            if disk.hardState.term != reply.term || disk.hardState.vote != outgoing.to { return "a vote too early" }
        case .voteReply(let reply) where reply.isGranted: break
        case .appendReply(let reply):
            if disk.hardState.term < reply.term { return "a term that is not durable" }
            if case .matched(let index) = reply.outcome, index > disk.lastIndex {
                return "a match that is not durable"
            }
        case .snapshotReply(let reply):
            if disk.hardState.term < reply.term { return "a term that is not durable" }
            if case .installed(let index) = reply.outcome, index > disk.lastIndex {
                return "a snapshot that is not durable"
            }
        case .readIndexRequest: break
        case .voteReply, .append, .heartbeat, .heartbeatReply, .readIndexReply, .snapshotOffer, .snapshotChunk,
            .snapshotEnd, .timeoutNow, .storeVerdict:
            if disk.hardState.term < outgoing.message.term { return "a term that is not durable" }
        }
        return nil
    }
}

/// Names as the tests use them: member 1, its first store, the configuration of members 1 to n.
enum Names {
    static func member(_ number: Int) -> MemberID { MemberID(rawValue: UInt64(number)) }

    static func store(_ number: Int, generation: Int = 1) -> StoreID {
        StoreID(high: UInt64(number), low: UInt64(generation))
    }

    static func configuration(_ count: Int, incarnation: UInt64 = 7) -> Configuration {
        Configuration(
            incarnation: Incarnation(high: incarnation, low: incarnation),
            members: (1...count).map { number in
                Member(id: member(number), store: store(number), address: "node\(number):7000", label: "")
            })
    }
}
