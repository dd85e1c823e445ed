import Logging
import VikWire

/// Violations that were logged, so that the same cause is logged once for each member. A plain value.
struct NotedViolations {
    private struct Noted: Hashable {
        let member: MemberID
        let cause: PeerViolation.Cause
    }

    /// Members come and go; those of a full cluster fit, each with every cause.
    static let maxNoted = WireLimits.maxMembers * PeerViolation.Cause.allCases.count

    private var noted: Set<Noted> = []

    /// - Returns: whether it is news.
    mutating func note(_ cause: PeerViolation.Cause, of member: MemberID) -> Bool {
        if noted.count >= Self.maxNoted { noted.removeAll(keepingCapacity: true) }
        return noted.insert(Noted(member: member, cause: cause)).inserted
    }
}

/// Members that say what no member can. It cannot be told whether they are hostile, damaged, or right and somebody else
/// is not: so the connection ends, and this node goes on with the others. The one exception is a leader without what is
/// committed here.
extension NodeShell {
    func step(_ message: Message, from member: MemberID, store: StoreID) {
        do throws(PeerViolation) {
            try core.step(message, from: member, store: store)
        } catch {
            refuse(member, error)
            // Whoever leads is elected by a majority, which has lost what is committed here. To go on would be to answer
            // reads with what the leader does not have.
            if case .contradictsCommitted(let index, let leaderTerm) = error {
                core.noteContradiction(at: index, leaderTerm: leaderTerm, leader: member)
            }
        }
    }

    func refuse(_ member: MemberID, _ violation: PeerViolation) {
        board.count { $0.peerViolations += 1 }
        if violations.note(violation.cause, of: member) {
            var metadata: Logger.Metadata = ["member": "\(label(of: member))", "term": "\(core.term)"]
            if case .secondLeader(_, let leader) = violation {
                metadata["leader"] = "\(leader == identity.member ? identity.label : label(of: leader))"
            }
            logger.log(
                level: violation.isProofOfLoss ? .critical : .error,
                "a member broke Raft's rules and is refused: \(violation)", metadata: metadata)
        }
        peers.refuse(member, reason: "\(violation.cause)")
    }
}
