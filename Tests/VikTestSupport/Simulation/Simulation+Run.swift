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
        proveLiveness()
        if chance(50) {
            // Power loss of the whole cluster: nothing that was acknowledged was only in memory.
            for node in nodes { crash(node, restartAfter: draw(10_000...100_000)) }
            proveLiveness()
        }
        judgeHistory()
    }

    /// Ends all faults; then there is one leader within a bound, all nodes agree, and all of them serve.
    package func proveLiveness() {
        calmDown()
        clients.isIssuing = false
        guard run(within: Self.livenessBound, until: { isSettled }) else {
            // A founding that a power loss of several nodes interrupted may need an operator.
            if oracle.committedIndex == 0, violation == nil, !profile.isFoundingCalm { return }
            return fail("the cluster does not settle: \(nodes.map(describe).joined(separator: "; "))")
        }
        for node in members {
            for key in oracle.model.allKeys { issue(.get(key: key, .linearizable), client: .max, at: node) }
        }
        let write = issueWrite(["final"], client: .max, at: nodes[leaderPosition!])
        run(within: Self.livenessBound) { clients.pending.isEmpty }
        guard violation == nil else { return }
        guard case .written? = clients.outcomes[write] else {
            return fail("a calm cluster does not take a write: \(String(describing: clients.outcomes[write]))")
        }
        guard run(within: Self.livenessBound, until: { isSettled }) else {
            return fail("the cluster does not settle again: \(nodes.map(describe).joined(separator: "; "))")
        }
        guard clients.unanswered.isEmpty else {
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
