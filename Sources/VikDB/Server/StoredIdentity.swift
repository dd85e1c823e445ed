import Logging
import VikWire

/// Holds a node's flags against the configuration that its store remembers (design rule 8): `-cluster` counts only at
/// the first start; afterwards what is stored wins.
enum StoredIdentity {
    static func check(
        _ identity: NodeIdentity, cluster: [String], against stored: Configuration?, logger: Logger
    ) throws(StartError) {
        guard let stored else { return }
        if let owner = stored.members.first(where: { $0.store == identity.store }), owner.id != identity.member {
            let starting = identity.isReplicated ? identity.address : "a node alone"
            throw .flags(
                "these directories belong to the member at \(owner.address) (\(owner.label)), not to \(starting): "
                    + "start it with its own -wal-path and -sstable-dir")
        }
        guard stored.member(identity.member) != nil else {
            throw .flags(
                "\(identity.address) is no member of the stored cluster "
                    + "(\(stored.members.map(\.address).joined(separator: ", "))): correct -cluster and "
                    + "-replication-port")
        }
        if let other = stored.members.first(where: { $0.label == identity.label && $0.id != identity.member }) {
            throw .flags("-node-id \(identity.label) is taken by the member at \(other.address)")
        }
        if Set(stored.members.map(\.address)) != Set(cluster) {
            logger.warning(
                "-cluster differs from the stored configuration, which counts",
                metadata: ["stored": "\(stored.members.map(\.address).joined(separator: ","))"])
        }
    }
}
