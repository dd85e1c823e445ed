import VikDB
import VikWire

/// Operators: they add machines, take them away, and move the office, whatever else goes on.
extension Simulation {
    /// Asks some node, most often the leader, for a change that may or may not make sense.
    func changeMembers() {
        guard let configuration = oracle.configuration else { return }
        let label = nodes.randomElement(using: &random)!.label
        let isMember = configuration.members.contains { $0.label == label }
        let request: AdminRequest
        if !isMember || chance(10) {
            let address = nodes.first { $0.label == label }!.address
            request = .setMember(label: label, address: address, becomesVoter: chance(75))
        } else if chance(25) {
            request = .promote(label: label)
        } else {
            request = .remove(label: label)
        }
        ask(request)
    }

    /// One member leaves for long; then a spare is added, and once it votes another founder is removed.
    func replaceMember() {
        guard let configuration = oracle.configuration, let leader = leaderPosition,
            let spare = nodes.first(where: { $0.member == .none }),
            let away = voters(of: configuration).nodes.filter({ $0.position != leader && $0.process != nil })
                .randomElement(using: &random)
        else { return }
        crash(away, restartAfter: draw(3_000_000...8_000_000))
        ask(.setMember(label: spare.label, address: spare.address, becomesVoter: true), at: leader)
        awaitReplacement(of: away, by: spare, attempts: 30)
    }

    private func awaitReplacement(of away: SimulatedNode, by spare: SimulatedNode, attempts: Int) {
        schedule(after: 100_000) { [unowned self] in
            guard isFaulty, attempts > 0, let configuration = oracle.configuration else { return }
            guard configuration.member(spare.member)?.role == .voter, let leader = leaderPosition else {
                return awaitReplacement(of: away, by: spare, attempts: attempts - 1)
            }
            let leaving = voters(of: configuration).nodes.first { node in
                node !== away && node !== spare && node.position != leader
            }
            guard let leaving else { return }
            coverage[.membersReplaced] += 1
            ask(.remove(label: leaving.label), at: leader)
        }
    }

    /// A leader with one other voter removes it while that one does not answer, and reads wait for it.
    func shrinkQuorum() {
        guard let configuration = oracle.configuration, configuration.voterCount == 2, let leader = leaderPosition,
            let other = voters(of: configuration).nodes.first(where: { $0.position != leader && $0.process != nil })
        else { return }
        coverage[.quorumsShrunk] += 1
        pause(other)
        schedule(after: draw(50_000...300_000)) { [unowned self] in resume(other) }
        for _ in 0..<3 { issue(.get(key: clients.keys[0], .linearizable), client: .max, at: nodes[leader]) }
        schedule(after: draw(500...5_000)) { [unowned self] in ask(.remove(label: other.label), at: leader) }
    }

    func handOver() {
        coverage[.handOvers] += 1
        ask(.handOver(to: chance(50) ? nodes.randomElement(using: &random)!.label : nil))
    }

    package func ask(_ request: AdminRequest, at position: Int? = nil) {
        let asked = position ?? (chance(80) ? leaderPosition : nil) ?? Int.random(in: 0..<nodes.count, using: &random)
        guard let process = nodes[asked].process else { return }
        trace.note(16, UInt64(asked), text: "operator asks \(nodes[asked].label): \(request)")
        let token = clients.makeToken()
        at(process, after: draw(20...400)) { [unowned self] in
            arrive(.administer(request, token: token, sink: operatorSink), at: process)
        }
    }

    func takeOperatorReplies() {
        for reply in operatorSink.replies.takeAll() {
            trace.note(17, reply.token, text: "operator is told \(reply.outcome)")
            if case .notAdministered = reply.outcome { coverage[.changesRefused] += 1 }
        }
    }

    /// Draws the consequences of a committed configuration for the machines: one that was added is started, one that was
    /// removed is taken away some time later, and comes back, if at all, as another member with an empty disk.
    func staff() {
        takeOperatorReplies()
        guard let configuration = oracle.configuration, oracle.configurationIndex > staffedIndex else { return }
        staffedIndex = oracle.configurationIndex
        for member in configuration.members {
            let node = nodes.first { $0.label == member.label || $0.member == member.id }!
            if node.member == .none {
                coverage[.membersAdded] += 1
                node.member = member.id
                schedule(after: draw(1_000...300_000)) { [unowned self] in start(node) }
            }
            if member.role == .voter, roles[member.id] ?? .voter != .voter { coverage[.learnersPromoted] += 1 }
            roles[member.id] = member.role
        }
        for node in nodes where node.member != .none && configuration.member(node.member) == nil {
            guard removed.insert(node.member).inserted else { continue }
            coverage[.membersRemoved] += 1
            if let process = node.process, process.ledBefore || process.wasLeader { coverage[.leaderRemoved] += 1 }
            let former = node.member
            schedule(after: draw(100_000...3_000_000)) { [unowned self] in takeAway(node, former) }
        }
    }

    private func takeAway(_ node: SimulatedNode, _ former: MemberID) {
        guard node.member == former else { return }
        trace.note(18, UInt64(node.position), text: "\(node.label) is taken away")
        if node.process != nil { crash(node, restartAfter: nil) }
        node.isRestartDue = false
        node.disk = MemoryFileSystem()
        node.store = .zero
        node.formerStore = nil
        node.claims = Claims()
        node.isTrusted = false
        node.hasLostDisk = false
        node.isFounder = false
        node.member = .none
        // It may have been added again meanwhile.
        if let member = oracle.configuration?.members.first(where: { $0.label == node.label }) {
            coverage[.membersAdded] += 1
            node.member = member.id
            schedule(after: draw(1_000...300_000)) { [unowned self] in start(node) }
        }
    }
}
