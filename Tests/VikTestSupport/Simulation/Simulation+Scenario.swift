import VikDB
import VikWire

/// What directed tests do to a cluster that is otherwise calm. Nodes go by position.
extension Simulation {
    /// Starts all nodes and waits for a leader that can serve.
    ///
    /// - Returns: its position; nil if there is none in time.
    package func startCluster() -> Int? {
        startAll()
        return awaitLeader()
    }

    /// Starts a node that is down.
    package func restart(_ position: Int) {
        start(nodes[position])
    }

    /// Asks the leader for a change of the members, and waits until it is committed.
    package func change(_ request: AdminRequest, at leader: Int) -> Bool {
        let before = oracle.configurationIndex
        ask(request, at: leader)
        return run(within: 5_000_000) { oracle.configurationIndex > before }
    }

    /// The role of a node, as the newest committed configuration has it.
    package func role(of position: Int) -> MemberRole? {
        oracle.configuration?.member(nodes[position].member)?.role
    }

    /// No entries get from one node to others; heartbeats do.
    package func cutAppends(from sender: Int, to receivers: [Int]) {
        for receiver in receivers { network.cutAppends(from: sender, to: receiver) }
    }

    /// Waits until some node leads that is none of `others` and has committed an entry of its own term.
    package func awaitLeader(otherThan others: [Int] = [], within time: UInt64 = 5_000_000) -> Int? {
        run(within: time) { servingLeader(otherThan: others) != nil }
        return servingLeader(otherThan: others)
    }

    private func servingLeader(otherThan others: [Int]) -> Int? {
        nodes.first { node in
            guard !others.contains(node.position), !node.isPaused, let core = node.process?.shell.core else {
                return false
            }
            return core.isLeader && core.termOfEntry(at: core.commit) == core.term
        }?.position
    }

    package func core(of position: Int) -> RaftCore? {
        nodes[position].process?.shell.core
    }

    /// Proposes a write of a fresh value at a node.
    package func put(_ key: String, at position: Int) -> UInt64 {
        issueWrite([key], client: .max, at: nodes[position])
    }

    package func get(_ key: String, at position: Int) -> UInt64 {
        issue(.get(key: key, .linearizable), client: .max, at: nodes[position])
    }

    /// How a request ended; nil while it has not.
    package func outcome(of token: UInt64) -> Reply.Outcome? {
        clients.outcomes[token]
    }

    /// Waits for the end of a request.
    package func awaitOutcome(of token: UInt64, within time: UInt64 = 5_000_000) -> Reply.Outcome? {
        run(within: time) { clients.pending[token] == nil }
        // What begins now begins after this request's end, not at the same instant.
        run(for: 1)
        return outcome(of: token)
    }

    /// Whether the store that a node has now is on record for it, as far as the node at `position` knows.
    package func isOnRecord(_ node: SimulatedNode, at position: Int) -> Bool {
        core(of: position)?.isOnRecord(node.store, of: node.member) ?? false
    }

    /// Starts a node that is down.
    package func restart(_ node: SimulatedNode) {
        schedule(after: 10_000) { [unowned self] in start(node) }
    }

    /// Only the nodes of one group hear each other; a node may be in several groups.
    package func split(_ groups: [[Int]]) {
        network.split(groups)
    }

    package func cut(from sender: Int, to receiver: Int) {
        network.cut(from: sender, to: receiver)
    }

    package func heal() {
        network.heal()
    }

    /// Syncs at this node take `factor` times as long.
    package func slowDown(_ position: Int, by factor: UInt64) {
        nodes[position].slowness = factor
    }

    /// A node's disk takes no more than it has.
    package func fillDisk(of position: Int) {
        nodes[position].disk.capacity = nodes[position].disk.usedBytes
    }

    /// It takes whatever there is.
    package func makeRoom(on position: Int) {
        nodes[position].disk.capacity = .max
        nodes[position].disk.fileCapacity = .max
    }

    /// The disk of a node takes no further file, whatever room it has.
    package func useUpFiles(of position: Int) {
        nodes[position].disk.fileCapacity = nodes[position].disk.fileCount
    }

    /// Issues the profile's mixed load until ``proveLiveness()``.
    package func startLoad() {
        startClients()
    }

    /// Holds what the clients saw against the order that it must have.
    package func finish() {
        proveLiveness()
        judgeHistory()
    }

    /// Gives a node, in one append that `sender` may send as its leader, all that is committed and that it lacks.
    package func deliverCommitted(from sender: Int, to receiver: Int) {
        guard let process = nodes[receiver].process, let leader = core(of: sender), let core = core(of: receiver) else {
            return
        }
        let request = AppendRequest(
            term: leader.term, previousIndex: core.commit, previousTerm: core.termOfEntry(at: core.commit)!,
            commit: oracle.committedIndex, entries: oracle.committed.filter { $0.index > core.commit })
        let input = NodeInput.message(.append(request), from: nodes[sender].member, store: nodes[sender].store)
        at(process, after: 0) { [unowned self] in arrive(input, at: process) }
    }
}
