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
    /// The members last handed to the transport.
    private var toldPeers: [Member]?
    /// Nodes that may be members which this node has yet to hear of.
    var acquaintances: [Member] = []
    /// What members did that no member may, as logged.
    var violations = NotedViolations()
    /// Of this node's membership, what was last logged.
    var isRemovalNoted = false
    /// The label of a member that refuses this node's store, as last logged; nil once there is a leader.
    var refusedBy: String?
    var metrics = NodeMetrics()
    /// As last logged.
    private var notedPressure = PressureRecord()
    private var lastRole = RaftRole.follower
    var random: SplitMix64

    var now: UInt64 = 0
    var proposals: [ByteBuffer] = []
    /// Bytes of `proposals`.
    var proposalBytes = 0
    var proposers: [Proposer] = []
    var changes: [PendingChange] = []
    var writes = PendingWrites()
    var reads = PendingReads()
    var joins = PendingJoins()
    var readContext: UInt64
    var isHashing = false
    var replies = ReplyBatch()

    /// Everything up to here is in the engine.
    package internal(set) var applied: LogIndex
    var isApplying = false
    var throttle: ApplyThrottle
    package internal(set) var isInBackground = false
    var backgroundRetryAt: UInt64 = 0
    /// The tick from which on tombstones may have a memtable flushed again.
    private var reclaimAt: UInt64 = 0
    var savedCommit: LogIndex
    /// As last measured, and what found no room.
    var freeBytes = UInt64.max
    /// Since when housekeeping has a job on the log lane.
    var housekeepingSince: UInt64?
    var logWatch: StallWatch
    var applyWatch: StallWatch
    var applyLag = ApplyLag()
    private var foundingReminder: Reminder
    var disk = DiskTrouble()
    /// Snapshots on their way out, by receiver, and the one on its way in.
    var sending: [MemberID: SnapshotSender] = [:]
    var receiving: SnapshotReceiver?
    var snapshotSerial: UInt64 = 0
    /// Receivers of snapshots that have not caught up since.
    var repetitions = SnapshotRepetitions()
    /// The log found no room to begin after the snapshot that has replaced the engine's state.
    var isResetRefused = false
    /// The log may drop what is at or before this index, as last told to it.
    private var discardable: LogIndex = 0
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
        self.random = random
        self.throttle = ApplyThrottle(options)
        self.logWatch = StallWatch(limit: options.writeStallTicks, calm: options.stallCalmTicks)
        self.applyWatch = StallWatch(
            limit: max(UInt64(options.requestWaitTicks), options.writeStallTicks), calm: options.stallCalmTicks)
        self.foundingReminder = Reminder(first: options.reminderTicks, longest: options.maxReminderTicks)
        self.applied = recovered.engine.appliedIndex
        self.savedCommit = recovered.state.hardState.commit
        if core.storeState != .entries, !identity.founders.isEmpty {
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
        case .message(let message, let member, let store): step(message, from: member, store: store)
        case .peerConnected(let hello, let acknowledged): connected(hello, acknowledged)
        case .peerAccepted(let hello): core.heard(hello.member, store: hello.store)
        case .peerDisconnected(let member): core.disconnected(member)
        case .appendsOpened(let member): core.setAppends(to: member, areCutOff: false)
        case .appendsCutOff(let member): core.setAppends(to: member, areCutOff: true)
        case .snapshotConnected(let member): snapshotConnection(to: member, isOpen: true)
        case .snapshotDisconnected(let member): snapshotConnection(to: member, isOpen: false)
        case .unknownToPeer(let hello): noteUnknown(to: hello)
        case .storeRefused(let hello): noteRefused(by: hello)
        case .acquainted(let hello): acquaint(hello)
        case .snapshotRead(let member, let transfer, let isEnd):
            if let sender = sending[member], sender.offer.transfer == transfer { sender.read(isEnd: isEnd) }
        case .snapshotProduced(let member, let transfer, let product):
            snapshotProduced(for: member, transfer, product)
        case .snapshotTakenIn(let serial, let sequence, let rawBytes):
            snapshotTakenIn(serial, sequence, rawBytes: rawBytes)
        case .snapshotSpoilt(let serial, let reason): snapshotSpoilt(serial, reason)
        case .snapshotNotSwitched(let reason): snapshotNotSwitched(reason)
        case .snapshotSwitched: snapshotSwitched()
        case .snapshotResetRefused: isResetRefused = true
        case .snapshotInstalled(let configuration): snapshotInstalled(configuration)
        case .stateHashed(let hasher, let hash, let token, let sink):
            stateHashed(hasher, hash, token: token, sink: sink)
        case .administer(let request, let token, let sink): administer(request, token: token, sink: sink)
        case .handOver: _ = core.handOver()
        case .persistenceRefused(let sequence, let path): noteFullLog(sequence, path)
        case .logHasRoom: noteRoomForLog()
        case .persisted(let sequence, let nanoseconds):
            metrics.syncLatency.observe(nanoseconds)
            core.persisted(sequence)
        case .applied(let run): finishApplying(run)
        case .fetched(let entries, let member):
            // The log does not have them any more: the member needs a snapshot.
            if entries.isEmpty { core.compact(through: log.base.index) }
            core.fetched(entries, for: member)
        case .backgroundDone(let outcome):
            isInBackground = false
            noteTables(outcome)
        case .freeSpace(let bytes, let files):
            housekeepingSince = nil
            noteFreeSpace(bytes, files: files)
        case .failed(let error): fail(error)
        case .stop: if phase == .running { phase = .draining }
        case .closed: phase = .closed
        }
    }

    /// Acts on everything handled since the last call.
    package func pump() {
        stopIfStoreIsLost()
        switch phase {
        case .running, .draining:
            propose()
            askForReadIndex()
            let ready = core.takeReady()
            carryOut(ready)
            pumpSnapshots()
            // What a message of a transfer is answered with goes out at once.
            if !ready.snapshotMessages.isEmpty { carryOut(core.takeReady()) }
            answerChanges()
            applyCommitted()
            // The log is closed as it is; a merge would only delay the end.
            if phase == .running { startBackgroundJob() }
            if phase == .draining { closeWhenDrained() }
        case .closing, .closed, .failed: break
        }
        noteRole()
        // Who has an answer sees in the status what it is about.
        publish()
        replies.deliver()
        peers.flush()
        noteLeader()
    }

    private func noteRole() {
        guard core.role != lastRole else { return }
        if core.role == .candidate || core.role == .leader && lastRole == .preCandidate { metrics.campaigns += 1 }
        if core.role == .leader { metrics.electionsWon += 1 }
        lastRole = core.role
    }

    private func noteLeader() {
        guard core.leader != notedLeader, let leader = leaderHello else { return }
        notedLeader = core.leader
        isRemovalNoted = false
        refusedBy = nil
        logger.notice("following the leader", metadata: ["leader": "\(leader.label)", "term": "\(core.term)"])
    }

    private func tick() {
        now += 1
        core.tick()
        throttle.tick()
        metrics.pressure.tick(engine.pressure, milliseconds: UInt64(options.tickMilliseconds))
        tickSnapshots()
        handOverIfDiskIsFull()
        expire()
        watchForStalls()
        expireJoins()
        // Members change seldom: a tick later is soon enough, and every round of the loop too often.
        tellPeers()
        publishSizes()
        // Nothing may follow the job that closes the log.
        if now % UInt64(options.housekeepingTicks) == 0, phase == .running || phase == .draining { keepHouse() }
    }

    private func connected(_ hello: Hello, _ acknowledged: AcknowledgedLog?) {
        warnOfSharedAddress(in: hello)
        hellos[hello.member] = hello
        core.identified(
            hello.member, store: hello.store, state: hello.state, end: hello.logEnd, acknowledged: acknowledged)
        // What the process before acknowledged may have come since its connection broke.
        core.disconnected(hello.member)
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
        for outgoing in ready.messages { peers.send(understood(outgoing.message, by: outgoing.to), to: outgoing.to) }
        if let group = ready.persist { persist(group) }
        for fetch in ready.fetches { submitFetch(fetch) }
        if let read = ready.confirmedRead, read.context == readContext {
            confirmReads(at: read.index)
            joins.confirm(at: read.index)
        }
        if ready.lostLeadership {
            abandonWrites()
            abandonChanges()
        }
        for member in ready.snapshotsNeeded { startSnapshot(to: member) }
        for message in ready.snapshotMessages { handleSnapshot(message) }
        for verdict in ready.verdicts { logVerdict(verdict.finding, on: verdict.member) }
        serveReads()
        answerJoins()
    }

    /// The transport dials whom the newest configuration names.
    private func tellPeers() {
        acquaintances.removeAll { !core.mayBeNew($0.id) }
        // Its first peers a node dials from its start on.
        guard logTellsMembers || !acquaintances.isEmpty else { return }
        let wanted = Array((knownPeers + acquaintances).prefix(WireLimits.maxMembers - 1))
        guard wanted != toldPeers else { return }
        toldPeers = wanted
        peers.setPeers(wanted)
    }

    private func persist(_ group: PersistGroup) {
        board.count { counters in
            counters.syncedGroups += 1
            counters.syncedEntries += group.entries.count
        }
        if !group.entries.isEmpty { metrics.batchEntries.observe(UInt64(group.entries.count)) }
        executor.submit(.log) { [log, inbox] in
            let start = MonotonicClock.nanoseconds
            do throws(StorageError) {
                // First the term: no entry on disk is of a later term than the hard state.
                if let state = group.hardState { try log.save(state) }
                if !group.entries.isEmpty {
                    do throws(StorageError) {
                        try log.append(group.entries)
                    } catch .full(let path) {
                        return inbox.post(.persistenceRefused(sequence: group.sequence, path: path))
                    }
                    try log.sync()
                }
                inbox.post(
                    .persisted(sequence: group.sequence, nanoseconds: MonotonicClock.nanoseconds - start))
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
        guard !isApplying, first <= last, !isSwitchingState,
            let maxBytes = throttle.beginRun(under: engine.pressure, maxBytes: options.maxApplyBytes)
        else { return }
        isApplying = true
        let cached = core.cachedEntries(
            from: first, through: last, maxBytes: maxBytes, maxCount: options.maxApplyEntries)
        executor.submit(.apply) { [log, engine, inbox] in
            do throws(StorageError) {
                let entries =
                    if let cached { cached } else { try log.read(from: first, through: last, maxBytes: maxBytes) }
                let results = try engine.apply(entries)
                let bytes = entries.reduce(0) { $0 + $1.bytes.readableBytes }
                inbox.post(.applied(AppliedRun(through: entries.last!.index, results: results, bytes: bytes)))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    private func finishApplying(_ run: AppliedRun) {
        isApplying = false
        throttle.endRun(bytes: run.bytes)
        let first = applied + 1
        applied = run.through
        let time = MonotonicClock.nanoseconds
        while let pending = writes.popFirst(through: applied) {
            // Another leader's entry may stand where the proposal was meant to.
            guard core.termOfEntry(at: pending.index) == pending.term,
                let result = run.results[Int(pending.index - first)]
            else {
                replies.append(.unknown(.leadershipLost), token: pending.token, to: pending.sink)
                continue
            }
            metrics.commitLatency.observe(time - pending.since)
            replies.append(.written(version: pending.index, result: result), token: pending.token, to: pending.sink)
        }
    }

    private func startBackgroundJob() {
        guard !isInBackground, !isSwitchingState else { return }
        if log.hasDiscarded { return removeDiscarded() }
        guard now >= backgroundRetryAt,
            // What was refused may not be due any more; whether the disk still refuses files has to be known all the same.
            let job = engine.takeBackgroundJob(probesDisk: disk.refusedTable != nil, reclaims: now >= reclaimAt)
        else { return }
        if job.reclaims { reclaimAt = now + options.reclaimTicks }
        isInBackground = true
        executor.submit(.background) { [inbox] in
            do throws(StorageError) {
                let isDone = try job.runIfThereIsRoom()
                inbox.post(.backgroundDone(isDone ? job.writesFiles ? .done : .removed : .postponed))
            } catch {
                if case .full(let path) = error {
                    inbox.post(.backgroundDone(.refused(path: path)))
                } else {
                    inbox.post(.failed(error))
                }
            }
        }
    }

    private func removeDiscarded() {
        isInBackground = true
        executor.submit(.background) { [inbox, log] in
            do throws(StorageError) {
                try log.removeDiscarded()
                inbox.post(.backgroundDone(.removed))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    // MARK: Housekeeping

    private func keepHouse() {
        compactLog()
        if isResetRefused { resetLogToSnapshot() }
        foundIfPossible()
        remindOfFounding()
        if now % UInt64(options.housekeepingTicks * 5) == 0 {
            logProgress()
            logPressure()
        }
        // One at a time, whatever the disk does: behind one that hangs they would gather.
        guard housekeepingSince == nil else { return }
        housekeepingSince = now
        let state = core.hardState
        let needsSave = state.commit > savedCommit
        savedCommit = state.commit
        executor.submit(.log) { [log, inbox, fileSystem, directories] in
            do throws(StorageError) {
                if needsSave { try log.save(state) }
                var (bytes, files) = (UInt64.max, UInt64.max)
                for directory in directories {
                    bytes = min(bytes, try fileSystem.availableBytes(directory))
                    files = min(files, try fileSystem.availableFiles(directory))
                }
                inbox.post(.freeSpace(bytes: bytes, files: files))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    /// What the first start waits for, which may be for ever.
    private func remindOfFounding() {
        let (doubled, member) = (founding?.doubledLabel, founding?.memberWithEntries?.label)
        let obstacle = founding?.obstacle(hasSeenTerm: core.storeState == .voted)
        if doubled == nil, member == nil, obstacle != nil {
            // Most are there within seconds.
            guard now % UInt64(options.housekeepingTicks * 5) == 0 else { return }
        }
        guard foundingReminder.isDue(obstacle, at: now), let obstacle else { return }
        if let doubled {
            logger.error("two members of -cluster have the same -node-id", metadata: ["node_id": "\(doubled)"])
        } else if let member {
            logger.warning(
                "this store is empty but the cluster has data; it does not vote until the leader has recorded it",
                metadata: ["member": "\(member)"])
        } else {
            logger.notice("\(obstacle)")
        }
    }

    /// Of slowdowns and stalls, what there was since the last time.
    private func logPressure() {
        let record = metrics.pressure
        let slowed = record.slowdowns.milliseconds - notedPressure.slowdowns.milliseconds
        let stalled = record.stalls.milliseconds - notedPressure.stalls.milliseconds
        notedPressure = record
        guard slowed + stalled > 0 else { return }
        logger.info(
            "writes had to wait for flushes and merges",
            metadata: ["slowed_down_ms": "\(slowed)", "stalled_ms": "\(stalled)"])
    }

    /// Tells the log what it may drop, and the core what it has dropped.
    private func compactLog() {
        core.compact(through: log.base.index)
        let retention = LogRetention(
            flushed: engine.flushed.index, last: core.lastIndex, tailEntries: options.logTailEntries,
            tailStart: log.firstIndex(keepingBytes: Int(options.logTailBytes)), neededByPeers: neededByPeers,
            neededAgain: neededAgain, logBytes: log.bytesOnDisk, maxLogBytes: options.logRetentionMaxBytes)
        guard retention.discardable > discardable else { return }
        discardable = retention.discardable
        executor.submit(.log) { [log, discardable] in log.allowDiscard(through: discardable) }
    }

    /// The last entry that no member which answers, or is being sent a snapshot, will ask for.
    private var neededByPeers: LogIndex? {
        let answering = core.progressOfPeers.filter {
            !$0.isInstalling && $0.silence < UInt64(options.raft.electionTicks.upperBound)
        }
        return (answering.map(\.match) + sending.values.map(\.offer.index)).min()
    }

    func fail(_ error: StorageError) {
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
            incarnation: clusterIncarnation, presumedIncarnation: core.presumedIncarnation, state: core.storeState,
            recordedStore: core.foundingStore(of: member),
            logEnd: core.logEnd)
    }

    package var isClosed: Bool { phase == .closed }
    package var failure: StorageError? {
        if case .failed(let error) = phase { error } else { nil }
    }
}
