import VikDB
import VikWire

/// The life of nodes: start, turns of the loop, jobs, pause, stop, crash.
extension Simulation {
    private static let tick: UInt64 = 10_000

    // MARK: Start

    package func startAll() {
        for node in nodes { schedule(after: draw(0...50_000)) { [unowned self] in start(node) } }
    }

    /// Opens the node's stores as production does, and begins to run it.
    func start(_ node: SimulatedNode) {
        // A spare does not start before it is a member: until then it would only ask who it is.
        guard node.process == nil, violation == nil, node.member != .none else { return }
        node.isRestartDue = false
        if isFaulty, profile.faults.contains(.crash), chance(10) { crashInRecovery(node) }
        let segmentsBefore = segmentFiles(node.disk)
        do throws(StorageError) {
            let stores = try StoreIdentity.open(
                walDirectory: SimulatedNode.logDirectory, tableDirectory: SimulatedNode.tableDirectory,
                fileSystem: node.disk, using: &random)
            let recovered = try open(node)
            let isFirstStart = segmentsBefore == 0
            if !isFirstStart {
                coverage[.restarts] += 1
                if segmentFiles(node.disk) > segmentsBefore { coverage[.tornTail] += 1 }
                if recovered.state.lastIndex > recovered.engine.appliedIndex { coverage[.logReplayed] += 1 }
            }
            checkRecovered(recovered, of: node, stores.id)
            node.store = stores.id
            let process = SimulatedProcess(
                number: makeProcessNumber(), node: node, stores: stores, recovered: recovered,
                cluster: node.isFounder ? cluster : [], joined: joined(node, recovered),
                peers: firstPeers(of: node, recovered), options: profile.nodeOptions, seed: random.next())
            node.process = process
            trace.note(
                2, UInt64(node.position), process.shell.core.term, process.shell.core.lastIndex,
                text: "\(node.label) starts: term \(process.shell.core.term), log to \(process.shell.core.lastIndex), "
                    + "engine to \(process.engine.appliedIndex)")
            afterTurn(process)
            scheduleTick(process)
            scheduleConnecting(process, after: draw(0...5_000))
        } catch {
            fail("\(node.label) cannot open its stores: \(error)")
        }
    }

    /// What a member answers when the node asks who it is.
    private func joined(_ node: SimulatedNode, _ recovered: RecoveredNode) -> Configuration? {
        node.isFounder || !recovered.state.configurations.isEmpty ? nil : oracle.configuration
    }

    private func firstPeers(of node: SimulatedNode, _ recovered: RecoveredNode) -> Set<MemberID> {
        if let stored = recovered.state.configurations.last?.configuration { return Set(stored.members.map(\.id)) }
        if node.isFounder { return Set(cluster.map { MemberID.founder(address: $0) }) }
        return Set((joined(node, recovered)?.members ?? []).map(\.id))
    }

    func open(_ node: SimulatedNode) throws(StorageError) -> RecoveredNode {
        try RecoveredNode.open(
            logDirectory: SimulatedNode.logDirectory, tableDirectory: SimulatedNode.tableDirectory,
            fileSystem: node.disk, logOptions: profile.logOptions, engineOptions: profile.engineOptions)
    }

    /// Opening is itself cut short by a power loss, at any call.
    private func crashInRecovery(_ node: SimulatedNode) {
        node.disk.crashAfter(calls: Int.random(in: 0..<40, using: &random))
        do throws(StorageError) {
            _ = try StoreIdentity.open(
                walDirectory: SimulatedNode.logDirectory, tableDirectory: SimulatedNode.tableDirectory,
                fileSystem: node.disk, using: &random)
            _ = try open(node)
        } catch {
            if !node.disk.hasReachedCrashPoint { fail("\(node.label) cannot open its stores: \(error)") }
        }
        if node.disk.hasReachedCrashPoint { coverage[.crashInRecovery] += 1 }
        node.disk.crash(keep: drawKeep(), using: &random)
    }

    private func segmentFiles(_ disk: MemoryFileSystem) -> Int {
        guard let names = try? disk.list(SimulatedNode.logDirectory) else { return 0 }
        return names.count { $0.hasSuffix(".log") }
    }

    private func scheduleTick(_ process: SimulatedProcess) {
        // Timers of real machines are late now and then.
        let late = isFaulty && chance(2) ? draw(0...20_000) : 0
        at(process, after: Self.tick + late) { [unowned self] in
            arrive(.tick, at: process)
            scheduleTick(process)
        }
    }

    /// Something that happens to a process, if it still lives; kept while it is paused.
    func at(_ process: SimulatedProcess, after delay: UInt64, _ action: @escaping () -> Void) {
        schedule(after: delay) { [unowned self] in runIn(process, action) }
    }

    private func runIn(_ process: SimulatedProcess, _ action: @escaping () -> Void) {
        guard process.node.process === process else { return }
        if process.node.isPaused {
            process.node.kept.append { [unowned self] in runIn(process, action) }
        } else {
            action()
        }
    }

    // MARK: Turns of the loop

    /// An input reaches the node's loop; what else arrives before the turn shares it.
    func arrive(_ input: NodeInput, at process: SimulatedProcess) {
        process.inputs.append(input)
        guard !process.isTurnDue else { return }
        process.isTurnDue = true
        at(process, after: draw(0...60)) { [unowned self] in turn(process) }
    }

    private func turn(_ process: SimulatedProcess) {
        process.isTurnDue = false
        let inputs = process.inputs
        process.inputs = []
        for input in inputs {
            if case .fetched(let entries, _) = input, !entries.isEmpty { coverage[.fetches] += 1 }
            process.shell.handle(input)
        }
        process.shell.pump()
        afterTurn(process)
    }

    /// Takes what a turn brought out of the shell, and judges where the node stands now.
    func afterTurn(_ process: SimulatedProcess) {
        let core = process.shell.core
        trace.note(
            3, UInt64(process.node.position), core.term, core.commit, core.lastIndex, process.shell.applied,
            core.isLeader ? 1 : 0,
            text: "\(process.node.label) term \(core.term) commit \(core.commit) last \(core.lastIndex) applied "
                + "\(process.shell.applied) \(core.role)")
        for (message, member) in process.takeMessages() { send(message, from: process, to: member) }
        if let (member, reason) = process.refusals.first {
            fail("\(process.node.label) refuses \(node(member)?.label ?? "\(member)"): \(reason)")
        }
        observe(process)
        followSnapshotWishes(of: process)
        dropFormerPeers(of: process)
        staff()
        for job in process.executor.submitted.takeAll() { scheduleJob(job, of: process) }
        takeReplies()
        if let failure = process.shell.failure {
            if case .rolledBack = failure, process.node.isRolledBack {
                process.node.hasNoticedRollback = true
                crash(process.node, restartAfter: nil)
            } else if process.node.expectsFailure {
                coverage[.diskErrors] += 1
                crash(process.node, restartAfter: draw(10_000...300_000))
            } else {
                fail("\(process.node.label) stopped: \(failure)")
            }
        } else if process.shell.isClosed {
            coverage[.cleanStops] += 1
            end(process, keep: .all, restartAfter: draw(10_000...500_000))
        }
    }

    // MARK: Jobs

    private func scheduleJob(_ job: SimulatedExecutor.Job, of process: SimulatedProcess) {
        let lane = job.lane.rawValue
        process.jobs[lane].append(job)
        let duration: UInt64 =
            switch job.lane {
            case .log: draw(hostility.syncTime) * process.node.slowness
            case .apply: draw(20...1_000)
            case .background: draw(500...10_000) * process.node.slowness
            case .read: draw(10...1_000)
            case .snapshot: draw(10...5_000)
            }
        let longer = isFaulty && chance(1) ? draw(10_000...200_000) : 0
        var end = now + duration + longer
        if job.lane != .read {
            end = max(now, process.laneIsFreeAt[lane]) + duration + longer
            process.laneIsFreeAt[lane] = end
        }
        at(process, after: end - now) { [unowned self] in
            // Reads run in any order, all other lanes in that of submission.
            let next = job.lane == .read ? Int.random(in: 0..<process.jobs[lane].count, using: &random) : 0
            runJob(process.jobs[lane].remove(at: next), of: process)
        }
    }

    private func runJob(_ job: SimulatedExecutor.Job, of process: SimulatedProcess) {
        trace.note(
            4, UInt64(process.node.position), UInt64(job.lane.rawValue), text: "\(process.node.label) \(job.lane) job")
        job.run()
        noteEngine(process)
        // A job may have handed on to the next one.
        for job in process.executor.submitted.takeAll() { scheduleJob(job, of: process) }
        takeReplies()
        for input in process.inbox.posted.takeAll() {
            var delay = draw(0...200)
            if job.lane != .read {
                let lane = job.lane.rawValue
                process.lastPostOfLane[lane] = max(now + delay, process.lastPostOfLane[lane])
                delay = process.lastPostOfLane[lane] - now
            }
            at(process, after: delay) { [unowned self] in arrive(input, at: process) }
        }
    }

    private func noteEngine(_ process: SimulatedProcess) {
        let statistics = process.engine.statistics
        if statistics.flushed.index > 0 { coverage[.memtablesFlushed] = 1 }
        if statistics.levels.dropFirst().contains(where: { $0.tables > 0 }) { coverage[.merges] = 1 }
        if process.engine.pressure == .slowdown { coverage[.slowdowns] = 1 }
        if process.log.bytesOnDisk >= UInt64(2 * profile.logOptions.segmentBytes) { coverage[.segmentsRotated] = 1 }
    }

    // MARK: Ends

    func drawKeep() -> MemoryFileSystem.Keep {
        [.none, .all, .random, .random].randomElement(using: &random)!
    }

    /// Power loss, at once or in the middle of a job.
    package func crash(_ node: SimulatedNode, keep: MemoryFileSystem.Keep? = nil, restartAfter delay: UInt64?) {
        guard let process = node.process else { return }
        coverage[.crashes] += 1
        if process.shell.core.isInstalling { coverage[.crashInInstall] += 1 }
        let busy = process.jobs.indices.filter { !process.jobs[$0].isEmpty }
        if let lane = busy.randomElement(using: &random), chance(60) {
            coverage[.crashInsideJob] += 1
            node.disk.crashAfter(calls: Int.random(in: 0..<6, using: &random))
            process.jobs[lane].removeFirst().run()
        }
        end(process, keep: keep ?? drawKeep(), restartAfter: delay)
    }

    private func end(_ process: SimulatedProcess, keep: MemoryFileSystem.Keep, restartAfter delay: UInt64?) {
        let node = process.node
        trace.note(5, UInt64(node.position), text: "\(node.label) ends, keeping \(keep)")
        // An answer that is out of the node has been given.
        takeReplies()
        node.claims.noteEnd(of: process)
        node.process = nil
        node.isPaused = false
        node.kept = []
        node.expectsFailure = false
        abandonRequests(at: process)
        for other in nodes {
            guard let peer = other.process, peer.connected[node.position] == process.number else { continue }
            if peer.snapshotLinks[node.position]?.target == process.number {
                at(peer, after: draw(0...5_000)) { [unowned self] in
                    if peer.snapshotLinks[node.position]?.target == process.number {
                        cutSnapshotLink(of: peer, to: node)
                    }
                }
            }
            disconnect(peer, from: node, after: draw(0...5_000))
        }
        node.disk.crash(keep: keep, using: &random)
        if let delay {
            node.isRestartDue = true
            schedule(after: delay) { [unowned self] in if node.isRestartDue { start(node) } }
        }
    }

    package func pause(_ node: SimulatedNode) {
        guard node.process != nil, !node.isPaused else { return }
        coverage[.pauses] += 1
        trace.note(6, UInt64(node.position), text: "\(node.label) is paused")
        node.isPaused = true
    }

    package func resume(_ node: SimulatedNode) {
        guard node.isPaused else { return }
        trace.note(7, UInt64(node.position), text: "\(node.label) goes on")
        node.isPaused = false
        let kept = node.kept
        node.kept = []
        // What came meanwhile is there at once, or comes in as fast as it is read.
        let isBurst = chance(50)
        for action in kept { schedule(after: isBurst ? 0 : draw(0...500), action) }
    }

    /// The node loses its disk, and starts anew with an empty one.
    package func wipe(_ node: SimulatedNode, restartAfter delay: UInt64?) {
        coverage[.wipes] += 1
        crash(node, restartAfter: delay)
        trace.note(8, UInt64(node.position), text: "\(node.label) loses its disk")
        if node.store != .zero {
            node.formerStore = ShelvedStore(disk: node.disk, store: node.store, claims: node.claims)
        }
        node.disk = MemoryFileSystem()
        node.store = .zero
        node.claims = Claims()
        node.isTrusted = false
        node.hasLostDisk = true
        node.isRolledBack = false
    }

    /// A copy of what is durable at a node, to be put back with ``rollBack(_:to:restartAfter:)``.
    package func copyDisk(of node: SimulatedNode) -> MemoryFileSystem {
        node.disk.durableCopy()
    }

    /// An older copy takes the place of the node's disk. Nothing is held against it any more that the disk had claimed.
    package func rollBack(_ node: SimulatedNode, to copy: MemoryFileSystem, restartAfter delay: UInt64) {
        crash(node, restartAfter: delay)
        trace.note(20, UInt64(node.position), text: "\(node.label)'s disk is an older copy")
        node.disk = copy
        node.claims = Claims()
        node.isTrusted = false
        node.hasLostDisk = true
        node.isRolledBack = true
    }

    /// The disk that the node lost is back in the place of its present one, which goes on the shelf: a machine that was
    /// replaced, or a volume that was not mounted. So the two take turns.
    package func bringBack(_ node: SimulatedNode, restartAfter delay: UInt64?) {
        guard let former = node.formerStore else { return }
        coverage[.zombies] += 1
        if node.process != nil { crash(node, restartAfter: delay) }
        trace.note(19, UInt64(node.position), text: "\(node.label) has its former disk again")
        node.formerStore =
            node.store == .zero ? nil : ShelvedStore(disk: node.disk, store: node.store, claims: node.claims)
        node.isRolledBack = false
        node.disk = former.disk
        node.store = former.store
        node.claims = former.claims
        node.isTrusted = false
        node.hasLostDisk = oracle.configuration?.member(node.member)?.store != former.store
    }
}
