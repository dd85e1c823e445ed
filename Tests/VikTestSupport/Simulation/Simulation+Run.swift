import VikDB
import VikWire

/// A whole run: faults with all checks, then calm and proof that the cluster lives and lost nothing, then the judgement
/// of what the clients saw.
extension Simulation {
    /// Far longer than an election and the catching up of the slowest node take.
    private static let livenessBound: UInt64 = 15_000_000

    /// Runs the world of a seed. What it found is in ``violation``, ``coverage`` and ``history``.
    package static func run(seed: UInt64, isPrinted: Bool = false) -> Simulation {
        CrashNote.running(seed)
        let simulation = Simulation(SimulationProfile(seed: seed), isPrinted: isPrinted)
        simulation.runAll()
        return simulation
    }

    private func runAll() {
        startAll()
        startClients()
        if profile.isFoundingCalm {
            run(within: Self.livenessBound) { oracle.committedIndex > 0 }
        }
        startFaults()
        run(for: profile.faultyTime)
        if chance(75) { proveMajorityServes() }
        proveLiveness()
        if chance(50) {
            // Power loss of the whole cluster: nothing that was acknowledged was only in memory.
            for node in nodes { crash(node, restartAfter: draw(10_000...100_000)) }
            proveLiveness()
        }
        judgeHistory()
    }

    /// Ends all faults but one: what is down stays down, and nobody is restarted. If a majority is up that can know what
    /// it needs to know, it elects a leader, takes a write, and each of it answers a linearizable read.
    package func proveMajorityServes() {
        endFaults(restarting: false)
        clients.isIssuing = false
        if chance(60) { leaveMajorityAlone() }
        guard mustServe else { return }
        var written: UInt64?
        let isWritten = run(within: Self.livenessBound) {
            if let token = written {
                if case .written? = clients.outcomes[token] { return true }
                guard clients.pending[token] == nil else { return false }
            }
            written = leaderPosition.map { issueWrite(["majority"], client: .max, at: nodes[$0]) }
            return false
        }
        var reads: [Int: UInt64] = [:]
        let isRead =
            isWritten
            && run(within: Self.livenessBound) {
                for node in members where isUp(node) {
                    if let token = reads[node.position] {
                        if case .answered? = clients.outcomes[token] { continue }
                        guard clients.pending[token] == nil else { return false }
                    }
                    reads[node.position] = issue(.get(key: "majority", .linearizable), client: .max, at: node)
                    return false
                }
                return true
            }
        // A change of the members that was under way may have been committed meanwhile.
        guard violation == nil, mustServe else { return }
        coverage[.majorityServed] += 1
        if nodes.contains(where: { !isUp($0) && $0.member != .none }) { coverage[.majorityServedAlone] += 1 }
        if !isWritten || !isRead {
            fail(
                "a majority is up and \(isWritten ? "does not read" : "takes no write"): "
                    + nodes.map(describe).joined(separator: "; "))
        }
    }

    /// Just so many voters are left up as are a majority: one that knows who counts, if possible one that was added, and
    /// else those that were down, which have missed most.
    private func leaveMajorityAlone() {
        guard let configuration = oracle.configuration else { return }
        var (left, quorum) = voters(of: configuration)
        left.shuffle(using: &random)
        left = left.filter { !$0.isFounder } + left.filter(\.isFounder)
        guard
            let knowing = left.first(where: { node in
                isUp(node)
                    && node.process!.shell.core.committedConfiguration?.index ?? 0 >= oracle.configurationIndex
            })
        else { return }
        left.removeAll { $0 === knowing }
        left = [knowing] + left.filter { !isUp($0) } + left.filter(isUp)
        let chosen = left.prefix(quorum)
        for node in nodes where !chosen.contains(where: { $0 === node }) {
            if node.process != nil { crash(node, restartAfter: nil) }
            node.isRestartDue = false
        }
        for node in chosen where node.process == nil { start(node) }
    }

    private func isUp(_ node: SimulatedNode) -> Bool {
        node.process.map { !node.isPaused && !$0.isStopping } ?? false
    }

    /// Whether those that are up must be able to elect a leader: the voter among them that has most of the log knows
    /// who counts, and has a quorum of its own newest configuration beside it.
    private var mustServe: Bool {
        guard oracle.committedIndex > 0, violation == nil, let committed = oracle.configuration else { return false }
        func isUp(_ voter: Member) -> Bool {
            nodes.contains { node in
                node.member == voter.id && node.store == voter.store && self.isUp(node)
                    && node.process!.shell.core.mayVote
            }
        }
        func hasQuorum(_ configuration: Configuration) -> Bool {
            configuration.voters.count(where: isUp) >= configuration.voterCount / 2 + 1
        }
        let up = nodes.filter { self.isUp($0) }.compactMap { $0.process?.shell.core }
        let voters = up.filter { core in
            [committed, core.configuration].contains { $0?.member(core.id)?.role == .voter }
        }
        guard hasQuorum(committed),
            let most = voters.map({ ($0.termOfEntry(at: $0.lastIndex)!, $0.lastIndex) }).max(by: <)
        else { return false }
        return voters.contains { core in
            (core.termOfEntry(at: core.lastIndex)!, core.lastIndex) == most
                && core.committedConfiguration?.index ?? 0 >= oracle.configurationIndex
                && core.configuration.map(hasQuorum) ?? false && !core.isRemoved
        }
    }

    /// Ends all faults; then there is one leader within a bound, all nodes agree, and all of them serve.
    package func proveLiveness() {
        endFaults(restarting: true)
        clients.isIssuing = false
        guard run(within: Self.livenessBound, until: { isSettled }) else {
            // A founding that a power loss of several nodes interrupted may need an operator.
            if oracle.committedIndex == 0, violation == nil, !profile.isFoundingCalm { return }
            return fail("the cluster does not settle: \(nodes.map(describe).joined(separator: "; "))")
        }
        let reads = members.flatMap { node in
            oracle.model.allKeys.map { issue(.get(key: $0, .linearizable), client: .max, at: node) }
        }
        let write = issueWrite(["final"], client: .max, at: nodes[leaderPosition!])
        run(within: Self.livenessBound) { clients.pending.isEmpty }
        guard violation == nil else { return }
        for read in reads {
            guard case .answered? = clients.outcomes[read] else {
                return fail("a calm cluster does not read: \(String(describing: clients.outcomes[read]))")
            }
        }
        guard case .written? = clients.outcomes[write] else {
            return fail("a calm cluster does not take a write: \(String(describing: clients.outcomes[write]))")
        }
        guard run(within: Self.livenessBound, until: { isSettled }) else {
            return fail("the cluster does not settle again: \(nodes.map(describe).joined(separator: "; "))")
        }
        // One that a paused node got late, after its client had given up, may still wait for its time to be over.
        guard run(within: Self.livenessBound, until: { clients.unanswered.isEmpty }) else {
            return fail("requests \(clients.unanswered.keys.sorted()) got no answer")
        }
        checkStates()
    }

    /// One leader whom all follow; all entries committed and applied everywhere; every store recorded.
    private var isSettled: Bool {
        guard clients.pending.isEmpty, let leader = leaderPosition,
            let core = nodes[leader].process?.shell.core, core.commit == core.lastIndex
        else { return false }
        return members.allSatisfy { node in
            guard let process = node.process, !node.isPaused, !process.isStopping, isIdle(process) else { return false }
            let own = process.shell.core
            return own.term == core.term && own.leader == core.id && own.lastIndex == core.lastIndex
                && own.commit == core.commit && process.shell.applied == core.commit
                && oracle.configuration?.member(node.member)?.store == node.store && own.mayServeReads
        }
    }

    /// Whether the process is through with what a slow disk had piled up.
    private func isIdle(_ process: SimulatedProcess) -> Bool {
        process.laneIsFreeAt.allSatisfy { $0 <= now + 20_000 } && !process.engine.isStalled
    }

    /// The node that leads in the highest term.
    package var leaderPosition: Int? {
        nodes.filter { $0.process?.shell.core.isLeader ?? false }
            .max { $0.process!.shell.core.term < $1.process!.shell.core.term }?.position
    }

    private func describe(_ node: SimulatedNode) -> String {
        guard let process = node.process else { return "\(node.label) down" }
        let core = process.shell.core
        return "\(node.label) \(core.role) term \(core.term) leader \(core.leader.map { "\($0)" } ?? "none") last "
            + "\(core.lastIndex) commit \(core.commit) applied \(process.shell.applied) may vote \(core.mayVote), "
            + "stalled \(process.engine.isStalled), in background \(process.shell.isInBackground), "
            + "log full \(core.isLogFull), "
            + "members \(core.configuration.map { "\($0.members.map { "\($0.label) \($0.role)" })" } ?? "none")"
    }

    private func checkStates() {
        let index = oracle.committedIndex
        var hashes: [UInt64] = []
        for node in members {
            guard let view = node.process?.engine.view(), view.index == index, let hash = try? view.stateHash() else {
                return fail("\(node.label)'s engine is not at \(index)")
            }
            hashes.append(hash)
            for key in oracle.model.allKeys {
                let found = try? view.execute(.get(key: Array(key.utf8)))
                if found != .value(oracle.model.get(key, at: index)) {
                    fail("\(node.label) has another value of \(key)")
                }
            }
        }
        if Set(hashes).count > 1 { fail("the engines' states differ at \(index)") }
    }

    func judgeHistory() {
        guard violation == nil else { return }
        for entry in oracle.committed where entry.kind == .command {
            _ = try? Command.forEachOperation(in: entry.payload) { _, _, value in
                guard let value else { return }
                let name = SimulatedValue.name(Array(value)).prefix { $0 != "-" }
                if let token = UInt64(name), clients.refused.contains(token) {
                    fail("write \(token) was refused, and is entry \(entry.index)")
                }
            }
        }
        switch LinearizabilityChecker.check(history) {
        case .linearizable: break
        case .violation(let key, let reason): fail("key \(key) is not linearizable: \(reason)")
        case .undecided(let key): fail("the history of key \(key) is too complex to judge")
        }
    }
}
