import Logging
import VikWire

/// A change of the members, or of the leader, that an operator waits for. A plain value.
struct PendingChange {
    enum Goal: Equatable {
        /// The entry at this index, if it is of this term.
        case entry(LogIndex, Term)
        /// Somebody else leads.
        case otherLeader
    }

    let goal: Goal
    let deadline: UInt64
    let token: UInt64
    let sink: any ReplySink
}

/// Members that come, go and take over.
extension NodeShell {
    func administer(_ request: AdminRequest, token: UInt64, sink: any ReplySink) {
        func refuse(_ refusal: AdminRefusal) {
            replies.append(.notAdministered(refusal), token: token, to: sink)
        }
        guard phase == .running else { return refuse(.notReady("the node is stopping")) }
        if request == .mergeTables {
            // Its progress is in the metrics: it may take long.
            engine.requestMerge()
            logger.notice("merging all tables, as asked for")
            return replies.append(.administered(index: applied), token: token, to: sink)
        }
        guard identity.isReplicated else { return refuse(.impossible("a node alone has no other members")) }
        guard core.isLeader, let current = core.configuration else {
            return refuse(.notLeader(leader: leaderHello?.apiAddress))
        }
        func member(_ label: String) -> Member? { current.members.first { $0.label == label } }
        let change: MembershipChange
        switch request {
        case .setMember(let label, let address, let becomesVoter):
            if let known = member(label) {
                change = .move(known.id, address: address)
            } else {
                change = .add(label: label, address: address, becomesVoter: becomesVoter)
            }
        case .promote(let label):
            guard let known = member(label) else { return refuse(.noSuchMember(label)) }
            change = .promote(known.id)
        case .remove(let label):
            guard let known = member(label) else { return refuse(.noSuchMember(label)) }
            change = .remove(known.id)
        case .handOver(let label):
            return handOver(to: label, of: current, token: token, sink: sink)
        case .mergeTables: preconditionFailure("a wish of the node alone")
        }
        do throws(MembershipRefusal) {
            let (index, term) = try core.propose(change)
            logger.notice("changing the members", metadata: ["change": "\(change)", "index": "\(index)"])
            wait(for: .entry(index, term), token, sink)
        } catch {
            switch error {
            case .notLeader: refuse(.notLeader(leader: leaderHello?.apiAddress))
            case .busy(let why): refuse(.busy(why))
            case .impossible(let why): refuse(.impossible(why))
            }
        }
    }

    /// Clients are sent to the API address that the leader announces: one that two members share sends half of them to
    /// the wrong node. Once for each member and address.
    func warnOfSharedAddress(in hello: Hello) {
        guard hellos[hello.member]?.apiAddress != hello.apiAddress else { return }
        let other =
            hello.apiAddress == identity.apiAddress
            ? identity.label
            : hellos.values.first { $0.member != hello.member && $0.apiAddress == hello.apiAddress }?.label
        guard let other else { return }
        logger.warning(
            """
            two members announce the same API address: clients cannot be redirected; start each node with its own \
            -advertise-addr
            """,
            metadata: ["address": "\(hello.apiAddress)", "node_id": "\(hello.label)", "other": "\(other)"])
    }

    private func handOver(to label: String?, of current: Configuration, token: UInt64, sink: any ReplySink) {
        func refuse(_ refusal: AdminRefusal) {
            replies.append(.notAdministered(refusal), token: token, to: sink)
        }
        var target: Member?
        if let label {
            guard let known = current.members.first(where: { $0.label == label }) else {
                return refuse(.noSuchMember(label))
            }
            guard known.id != identity.member else { return refuse(.impossible("\(label) is the leader already")) }
            guard known.role == .voter else { return refuse(.impossible("\(label) is no voter")) }
            target = known
        }
        guard core.handOver(to: target?.id) else {
            return refuse(.busy(label.map { "\($0) does not answer" } ?? "no other voter answers"))
        }
        wait(for: .otherLeader, token, sink)
    }

    private func wait(for goal: PendingChange.Goal, _ token: UInt64, _ sink: any ReplySink) {
        changes.append(
            PendingChange(goal: goal, deadline: now + UInt64(options.requestWaitTicks), token: token, sink: sink))
    }

    /// The office is lost: what is not committed may yet be, or not, under the next leader.
    func abandonChanges() {
        changes.removeAll { change in
            guard case .entry(let index, _) = change.goal, index > core.commit else { return false }
            replies.append(.unknown(.leadershipLost), token: change.token, to: change.sink)
            return true
        }
    }

    /// Answers those whose change is made, or cannot be any more.
    func answerChanges() {
        guard !changes.isEmpty else { return }
        var waiting: [PendingChange] = []
        for change in changes {
            let outcome: Reply.Outcome?
            switch change.goal {
            case .entry(let index, let term) where core.commit >= index:
                // Compacted already: then it was applied, and by this leader.
                let isOwn = core.termOfEntry(at: index).map { $0 == term } ?? true
                outcome = isOwn ? .administered(index: index) : .unknown(.leadershipLost)
            case .entry:
                outcome = now >= change.deadline ? .unknown(.timedOut) : nil
            case .otherLeader where core.leader != nil && core.leader != identity.member && leaderHello != nil:
                outcome = .administered(index: core.commit)
            case .otherLeader where !core.isHandingOver && core.isLeader:
                outcome = .notAdministered(.busy("the office was not taken over in time; this node still leads"))
            case .otherLeader:
                outcome = now >= change.deadline ? .unknown(.timedOut) : nil
            }
            if let outcome {
                replies.append(outcome, token: change.token, to: change.sink)
            } else {
                waiting.append(change)
            }
        }
        if waiting.count < changes.count { publishSizes() }
        changes = waiting
    }

    /// A node that was away may be dialled by a leader that it has never heard of: it must answer, or it would never
    /// learn. The address is the one that the dialler says it has in the configuration.
    func acquaint(_ hello: Hello) {
        guard mayBeNew(hello), !acquaintances.contains(where: { $0.id == hello.member }) else { return }
        let room = WireLimits.maxMembers - 1 - knownPeers.count
        guard room > 0 else { return }
        if acquaintances.count >= room { acquaintances.removeFirst() }
        acquaintances.append(
            Member(
                id: hello.member, store: hello.store, role: .learner, address: hello.address, label: hello.label))
    }

    /// Whether a node that is no member as far as this node knows may be one all the same. To find that out, the
    /// incarnation of an entry that is not known to be committed is good enough.
    package func mayBeNew(_ hello: Hello) -> Bool {
        let own = clusterIncarnation == .zero ? core.presumedIncarnation : clusterIncarnation
        return own != .zero && hello.incarnation == own && core.mayBeNew(hello.member)
    }

    var logTellsMembers: Bool { core.storeState == .entries && core.configuration != nil }

    /// Whom this node dials, but for acquaintances.
    var knownPeers: [Member] { logTellsMembers ? core.peers : identity.firstPeers }

    /// Which cluster this node belongs to. While its log is empty: the one whose member has told it who it is, or whose
    /// entries a member of `-cluster` has. It then knows a leader of that cluster that was added later.
    var clusterIncarnation: Incarnation {
        if core.incarnation != .zero { return core.incarnation }
        return identity.joined?.incarnation ?? founding?.memberWithEntries?.incarnation ?? .zero
    }

    /// A member of this cluster says that this node is none.
    func noteUnknown(to hello: Hello) {
        guard !isRemovalNoted else { return }
        isRemovalNoted = true
        logger.warning(
            "a member of the cluster does not know this node: it was removed, or is to be added",
            metadata: ["member": "\(hello.label)"])
    }

    /// The members as this node knows them.
    var memberStatuses: [MemberStatus] {
        let progress = core.progressOfPeers
        return (core.configuration?.members ?? []).map { member in
            var status = MemberStatus(
                id: member.id, label: member.label, address: member.address,
                apiAddress: member.id == identity.member ? identity.apiAddress : hellos[member.id]?.apiAddress,
                role: member.role, isLeader: core.leader == member.id)
            if let peer = progress.first(where: { $0.member == member.id }) {
                status.match = peer.match
                status.lag = core.lastIndex - min(core.lastIndex, peer.match)
                status.lastContactMilliseconds = peer.silence * UInt64(options.tickMilliseconds)
                status.snapshotPercent = sending[member.id]?.percent
            }
            return status
        }
    }
}
