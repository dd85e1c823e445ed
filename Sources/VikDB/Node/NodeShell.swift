import Logging
import NIOCore
import VikWire

/// One node: it feeds inputs to ``RaftCore``, carries out what it wants, applies what is committed, and answers clients.
///
/// Synchronous, bound to the node's loop, owner of no thread: blocking work leaves as jobs to the ``Executor`` and comes
/// back as inputs, so that production and the simulator run the same code. ``handle(_:)`` takes any number of inputs;
/// ``pump()`` then acts on all of them at once, which is what batches proposals, syncs, messages and replies.
package final class NodeShell {
    let identity: NodeIdentity
    let options: NodeOptions
    let log: LogStore
    let engine: Engine
    let fileSystem: any FileSystem
    let directories: [String]
    let executor: any Executor
    let inbox: any NodeInbox
    unowned let peers: any PeerSender
    let board: StatusBoard
    let logger: Logger

    package internal(set) var core: RaftCore
    var founding: Founding?
    var incarnation: Incarnation
    /// What the members said of themselves in their handshakes.
    var hellos: [MemberID: Hello] = [:]

    var now: UInt64 = 0
    var proposals: [ByteBuffer] = []
    var proposers: [(token: UInt64, sink: any ReplySink)] = []
    var writes = PendingWrites()
    var reads = PendingReads()
    var readContext: UInt64
    var replies = ReplyBatch()

    /// Everything up to here is in the engine.
    package internal(set) var applied: LogIndex
    var isApplying = false
    var isInBackground = false
    var backgroundRetryAt: UInt64 = 0
    var savedCommit: LogIndex
    var isDiskFull = false
    private var notedLeader: MemberID?
    var phase = Phase.running

    enum Phase: Equatable {
        case running
        /// Stopping: no new requests; waits until what is in flight is done or its time is up.
        case draining
        /// The log is being closed.
        case closing
        case closed
        case failed(StorageError)
    }

    /// - Parameters:
    ///   - peers: outlives the shell.
    ///   - seed: of election timeouts and read contexts; different for every start of every node.
    package init(
        identity: NodeIdentity, options: NodeOptions, recovered: RecoveredNode, executor: any Executor,
        inbox: any NodeInbox, peers: any PeerSender, board: StatusBoard, logger: Logger, seed: UInt64
    ) {
        var random = SplitMix64(seed: seed)
        self.identity = identity
        self.options = options
        self.log = recovered.log
        self.engine = recovered.engine
        self.fileSystem = recovered.fileSystem
        self.directories = recovered.directories
        self.executor = executor
        self.inbox = inbox
        self.peers = peers
        self.board = board
        self.logger = logger
        self.core = RaftCore(
            id: identity.member, store: identity.store, options: options.raft, restoring: recovered.state,
            seed: random.next())
        self.incarnation = Incarnation(using: &random)
        // Starts at random, so that an answer to an earlier process of this node matches nothing.
        self.readContext = random.next()
        self.applied = recovered.engine.appliedIndex
        self.savedCommit = recovered.state.hardState.commit
        if core.storeState != .entries {
            founding = Founding(
                founders: identity.founders,
                own: Member(
                    id: identity.member, store: identity.store, address: identity.address, label: identity.label))
            foundIfPossible()
        }
        publish()
        publishSizes()
    }

    // MARK: Inputs

    package func handle(_ input: NodeInput) {
        if case .failed = phase { return refuseAfterFailure(input) }
        switch input {
        case .tick: tick()
        case .write(let command, let token, let sink): admitWrite(command, token: token, sink: sink)
        case .read(let query, let consistency, let token, let sink):
            admitRead(query, consistency, token: token, sink: sink)
        case .message(let message, let member, let store): core.step(message, from: member, store: store)
        case .peerConnected(let hello): connected(hello)
        case .peerDisconnected(let member): core.disconnected(member)
        case .snapshotConnected, .snapshotDisconnected, .unknownToPeer: break
        case .persisted(let sequence): core.persisted(sequence)
        case .applied(let run): finishApplying(run)
        case .fetched(let entries, let member): core.fetched(entries, for: member)
        case .backgroundDone(let isRetryLater):
            isInBackground = false
            if isRetryLater { backgroundRetryAt = now + UInt64(options.housekeepingTicks) }
        case .freeSpace(let bytes): noteFreeSpace(bytes)
        case .failed(let error): fail(error)
        case .stop: if phase == .running { phase = .draining }
        case .closed: phase = .closed
        }
    }

    /// Acts on everything handled since the last call.
    package func pump() {
        switch phase {
        case .running, .draining:
            propose()
            askForReadIndex()
            carryOut(core.takeReady())
            applyCommitted()
            startBackgroundJob()
            if phase == .draining { closeWhenDrained() }
        case .closing, .closed, .failed: break
        }
        replies.deliver()
        peers.flush()
        publish()
        noteLeader()
    }

    private func noteLeader() {
        guard core.leader != notedLeader, let leader = leaderHello else { return }
        notedLeader = core.leader
        logger.notice("following the leader", metadata: ["leader": "\(leader.label)", "term": "\(core.term)"])
    }

    private func tick() {
        now += 1
        core.tick()
        expire()
        publishSizes()
        // Nothing may follow the job that closes the log.
        if now % UInt64(options.housekeepingTicks) == 0, phase == .running || phase == .draining { keepHouse() }
    }

    private func connected(_ hello: Hello) {
        hellos[hello.member] = hello
        core.identified(hello.member, store: hello.store)
        founding?.record(hello)
        foundIfPossible()
    }

    private func foundIfPossible() {
        guard let founding else { return }
        if core.storeState == .entries {
            self.founding = nil
        } else if let configuration = founding.configuration(
            incarnation: incarnation, hasSeenTerm: core.storeState == .voted)
        {
            core.found(configuration)
            self.founding = nil
        }
    }

    // MARK: Carrying out a Ready

    private func carryOut(_ ready: Ready) {
        for outgoing in ready.messages { peers.send(outgoing.message, to: outgoing.to) }
        if let group = ready.persist { persist(group) }
        for fetch in ready.fetches { submitFetch(fetch) }
        if let read = ready.confirmedRead, read.context == readContext { reads.confirm(at: read.index) }
        if ready.lostLeadership { abandonWrites() }
        serveReads()
    }

    private func persist(_ group: PersistGroup) {
        board.count { counters in
            counters.syncedGroups += 1
            counters.syncedEntries += group.entries.count
        }
        executor.submit(.log) { [log, inbox] in
            do throws(StorageError) {
                // First the term: no entry on disk is of a later term than the hard state.
                if let state = group.hardState { try log.save(state) }
                if !group.entries.isEmpty {
                    try log.append(group.entries)
                    try log.sync()
                }
                inbox.post(.persisted(sequence: group.sequence))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    private func submitFetch(_ fetch: FetchRequest) {
        executor.submit(.read) { [log, inbox] in
            do throws(StorageError) {
                let entries = try log.read(from: fetch.from, through: fetch.through, maxBytes: fetch.maxBytes)
                inbox.post(.fetched(entries, for: fetch.member))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    // MARK: Applying

    /// Apply is a stage of its own, so that a slow engine delays answers but never heartbeats or replication.
    private func applyCommitted() {
        let first = applied + 1
        let last = min(core.applicable, applied + UInt64(options.maxApplyEntries))
        guard !isApplying, first <= last, !engine.isStalled else { return }
        isApplying = true
        let maxBytes = options.maxApplyBytes
        let cached = core.cachedEntries(
            from: first, through: last, maxBytes: maxBytes, maxCount: options.maxApplyEntries)
        executor.submit(.apply) { [log, engine, inbox] in
            do throws(StorageError) {
                let entries =
                    if let cached { cached } else { try log.read(from: first, through: last, maxBytes: maxBytes) }
                let results = try engine.apply(entries)
                inbox.post(.applied(AppliedRun(through: entries.last!.index, results: results)))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    private func finishApplying(_ run: AppliedRun) {
        isApplying = false
        let first = applied + 1
        applied = run.through
        while let pending = writes.popFirst(through: applied) {
            // Another leader's entry may stand where the proposal was meant to.
            guard core.termOfEntry(at: pending.index) == pending.term,
                let result = run.results[Int(pending.index - first)]
            else {
                replies.append(.unknown(.leadershipLost), token: pending.token, to: pending.sink)
                continue
            }
            replies.append(.written(version: pending.index, result: result), token: pending.token, to: pending.sink)
        }
    }

    private func startBackgroundJob() {
        guard !isInBackground, now >= backgroundRetryAt, let job = engine.takeBackgroundJob() else { return }
        isInBackground = true
        executor.submit(.background) { [inbox] in
            do throws(StorageError) {
                try job.run()
                inbox.post(.backgroundDone(isRetryLater: false))
            } catch {
                if case .full = error {
                    inbox.post(.backgroundDone(isRetryLater: true))
                } else {
                    inbox.post(.failed(error))
                }
            }
        }
    }

    // MARK: Housekeeping

    private func keepHouse() {
        if let founding {
            if let member = founding.memberWithEntries {
                logger.warning(
                    "this store is empty but the cluster has data; it does not vote until the leader has recorded it",
                    metadata: ["member": "\(member.label)"])
            } else if now % UInt64(options.housekeepingTicks * 5) == 0 {
                logger.notice(
                    "first start: waiting for every member of -cluster (or start with -bootstrap-without host:port)",
                    metadata: ["missing": "\(founding.missing.joined(separator: ", "))"])
            }
            foundIfPossible()
        }
        let state = core.hardState
        let needsSave = state.commit > savedCommit
        savedCommit = state.commit
        executor.submit(.log) { [log, inbox, fileSystem, directories] in
            do throws(StorageError) {
                if needsSave { try log.save(state) }
                var available = UInt64.max
                for directory in directories { available = min(available, try fileSystem.availableBytes(directory)) }
                inbox.post(.freeSpace(bytes: available))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    private func noteFreeSpace(_ bytes: UInt64) {
        let isFull = bytes < options.minFreeBytes
        if isFull != isDiskFull {
            logger.warning(
                isFull ? "the disk is almost full: writes are refused" : "the disk has space again",
                metadata: ["free_bytes": "\(bytes)"])
        }
        isDiskFull = isFull
    }

    private func fail(_ error: StorageError) {
        phase = .failed(error)
        logger.critical("the node stops: \(error)")
        abandonEverything()
        publishSizes()
    }

    private func closeWhenDrained() {
        guard writes.isEmpty, reads.count == 0, !isApplying, !isInBackground, proposals.isEmpty else { return }
        phase = .closing
        let state = core.hardState
        executor.submit(.log) { [log, inbox] in
            do throws(StorageError) {
                try log.save(state)
                try log.close()
                inbox.post(.closed)
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    /// What the handshake tells of this node's store.
    package func localHello(to member: MemberID) -> LocalHello {
        LocalHello(
            incarnation: core.incarnation, state: core.storeState, recordedStore: core.foundingStore(of: member))
    }

    package var isClosed: Bool { phase == .closed }
    package var failure: StorageError? {
        if case .failed(let error) = phase { error } else { nil }
    }
}
