import Logging
import VikWire

/// A member's store that is not the one on record, or not what it was; this node's own too.
extension NodeShell {
    /// Where operators read what to do about it.
    private static let guide = "docs/replaced-and-restored.md"

    /// Why the store of a member is not talked to now; nil: it is.
    package func storeRefusal(of hello: Hello) -> String? {
        switch core.refusal(of: hello.store, state: hello.state, as: hello.member) {
        case nil: nil
        case .recordedIsHeard:
            "shows other directories than those on record for this member, which are in use: it was replaced"
        case .isUsed:
            "shows other directories than those on record for this member, and they are not empty: they are taken only "
                + "once those on record have been silent for \(usedStorePatienceSeconds) s"
        }
    }

    private var usedStorePatienceSeconds: UInt64 {
        options.raft.usedStorePatienceTicks * UInt64(options.tickMilliseconds) / 1_000
    }

    /// A member of this cluster says that another store is on record for this node's member.
    func noteRefused(by hello: Hello) {
        guard refusedBy == nil else { return }
        refusedBy = hello.label
        logger.warning("\(refusalText(by: hello.label))")
    }

    func refusalText(by label: String) -> String {
        "\(label) refuses this node: other directories are on record for this member. If this machine was replaced, stop "
            + "it; if these are the right directories, they are taken once the others have been silent for "
            + "\(usedStorePatienceSeconds) s (\(Self.guide))"
    }

    /// At a leader: a member's store has lost what it acknowledged, or holds what a majority has lost.
    func logVerdict(_ finding: StoreVerdict.Finding, on member: MemberID) {
        let label = hellos[member]?.label ?? "\(member)"
        switch finding {
        case .lost(let index):
            logger.error(
                "a member has lost entries that it had acknowledged: it counts for nothing, and is told to stop",
                metadata: ["member": "\(label)", "acknowledged": "\(index)", "see": "\(Self.guide)"])
        case .contradicted(let index, _):
            logger.error(
                """
                a member holds a committed entry that this leader lacks: acknowledged writes were lost; the member counts \
                for nothing, and is told to stop
                """, metadata: ["member": "\(label)", "entry": "\(index)", "see": "\(Self.guide)"])
        }
    }

    /// A node whose store is not what it was must neither vote nor serve.
    func stopIfStoreIsLost() {
        guard let loss = core.storeLoss, phase == .running || phase == .draining else { return }
        fail(.rolledBack(path: directories[0], reason: lossText(loss)))
    }

    private func lossText(_ loss: StoreLoss) -> String {
        func label(_ member: MemberID) -> String { hellos[member]?.label ?? "\(member)" }
        switch loss {
        case .acknowledged(let index, let durable, let leader, let term):
            return
                "this node acknowledged entries up to \(index) to \(label(leader)), which leads in term \(term), and its "
                + "log ends at \(durable): its directories are an older copy, or its disk has lost what was synced. It "
                + "must not go on with them; \(Self.guide) says how it comes back"
        case .committed(let index, let term, let leaderTerm, let leader):
            let other = leaderTerm == 0 ? "no such entry" : "one of term \(leaderTerm)"
            return
                "entry \(index) of term \(term) is committed here, and \(label(leader)), which leads, has \(other): a "
                + "majority has lost acknowledged writes, perhaps because older copies of directories were put back. Keep "
                + "these directories, they may hold the only copy; \(Self.guide) says how to go on"
        }
    }
}
