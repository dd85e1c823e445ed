import VikWire

/// Finds a node in the configuration that its store remembers, and holds its flags against it (design rule 8).
enum StoredIdentity {
    /// The member with this store, else the one with this label; nil if there is neither.
    static func member(
        of store: StoreID, _ label: String, isReplicated: Bool, in stored: Configuration
    ) throws(StartError) -> Member? {
        let found = stored.members.first { $0.store == store } ?? stored.members.first { $0.label == label }
        if let found { try check(found, label, isReplicated: isReplicated, in: stored) }
        return found
    }

    /// Whether `member` may be started with these flags.
    static func check(
        _ member: Member, _ label: String, isReplicated: Bool, in stored: Configuration
    ) throws(StartError) {
        let isOfCluster = !member.address.isEmpty
        guard isReplicated == isOfCluster else {
            throw .flags(
                isOfCluster
                    ? "these directories belong to the member \(member.label) at \(member.address), not to a node "
                        + "alone: start it with its -node-id and -cluster, or with other directories"
                    : "these directories belong to a node alone, not to -node-id \(label): start it without -node-id, "
                        + "or with other directories")
        }
        guard isReplicated else { return }
        guard member.label.isEmpty || member.label == label else {
            throw .flags(
                "these directories belong to the member \(member.label) at \(member.address), not to -node-id "
                    + "\(label): start it with its own -node-id, or with its own -wal-path and -sstable-dir")
        }
        if let other = stored.members.first(where: { $0.label == label && $0.id != member.id }) {
            throw .flags("-node-id \(label) is taken by the member at \(other.address)")
        }
    }
}
