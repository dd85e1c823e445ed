import Logging
import VikWire

/// Who a node is in its cluster, and whom it dials until its log says more. Found once, at the start. A plain value.
package struct OwnMember: Sendable {
    package let id: MemberID
    /// Where it listens; nil: a node alone.
    package let address: HostPort?
    package let peers: [(member: MemberID, address: HostPort)]
    /// Who founds the cluster, this node among them, where neither the store nor a member knows one.
    package let founders: [HostPort]
    /// What the cluster answered, if that is how the node knows who it is.
    package private(set) var joined: Configuration?
    /// Where the address stands, for an error about it.
    let source: String

    /// In this order: the member of the stored configuration with this store, or with this label; the member that the
    /// cluster says it is; the founder by its address, which is looked for only then (design rule 12).
    ///
    /// - Parameters:
    ///   - stored: the configuration in the stores.
    ///   - joined: what the cluster answered, if it had to be asked.
    package static func find(
        _ settings: NodeSettings, store: StoreID, stored: Configuration?, joined: JoinedMember?, logger: Logger,
        isLocal: @escaping OwnAddress.HostCheck = OwnAddress.isBindable
    ) throws(StartError) -> OwnMember {
        guard let replication = settings.replication else { return try alone(store: store, stored: stored) }
        if let stored {
            warnOfDifference(replication, stored, logger)
            if let member = try StoredIdentity.member(of: store, replication.label, isReplicated: true, in: stored) {
                return try OwnMember(member, of: stored)
            }
        }
        switch replication.start {
        case .joining:
            guard let joined else { preconditionFailure("a node that joins has asked who it is") }
            guard stored == nil || stored!.incarnation == joined.configuration.incarnation else {
                throw .flags("these directories belong to another cluster than the one at -join")
            }
            var own = try OwnMember(joined.configuration.member(joined.id)!, of: joined.configuration)
            own.joined = joined.configuration
            return own
        case .founding(let founders):
            let own = try OwnAddress.find(
                in: founders.cluster, port: founders.port, advertised: founders.advertised, isLocal: isLocal)
            let id = MemberID.founder(address: own.description)
            guard let stored else {
                return OwnMember(
                    id: id, address: own,
                    peers: founders.cluster.filter { $0 != own }.map { (.founder(address: $0.description), $0) },
                    founders: founders.cluster, source: "-cluster")
            }
            // Its store may not be recorded yet, nor its label: it was not waited for when the cluster was founded.
            guard let member = stored.member(id) else {
                throw .flags(
                    "\(replication.label) is no member of the stored cluster "
                        + "(\(stored.members.map { "\($0.label) at \($0.address)" }.joined(separator: ", "))): "
                        + "correct -node-id, or start it with other directories")
            }
            try StoredIdentity.check(member, replication.label, isReplicated: true, in: stored)
            return try OwnMember(member, of: stored)
        }
    }

    /// Members as the transport takes them. One without an address is a node alone, which has no peers.
    static func peers(_ members: [Member]) -> [(member: MemberID, address: HostPort)] {
        members.compactMap { member in
            (try? HostPort.parse(member.address)).map { (member.id, $0) }
        }
    }

    private static func alone(store: StoreID, stored: Configuration?) throws(StartError) -> OwnMember {
        if let stored,
            try StoredIdentity.member(of: store, Node.loneLabel, isReplicated: false, in: stored) == nil
        {
            throw .flags("these directories belong to a cluster: start the node with its -node-id and -cluster")
        }
        return OwnMember(
            id: .founder(address: Node.loneAddress), address: nil, peers: [], founders: [], source: "-cluster")
    }

    private static func warnOfDifference(
        _ replication: NodeSettings.Replication, _ stored: Configuration, _ logger: Logger
    ) {
        guard case .founding(let founders) = replication.start,
            Set(stored.members.map(\.address)) != Set(founders.cluster.map(\.description))
        else { return }
        logger.warning(
            "-cluster differs from the stored configuration, which counts",
            metadata: ["stored": "\(stored.members.map(\.address).joined(separator: ","))"])
    }

    private init(
        id: MemberID, address: HostPort?, peers: [(member: MemberID, address: HostPort)], founders: [HostPort],
        source: String
    ) {
        self.id = id
        self.address = address
        self.peers = peers
        self.founders = founders
        self.source = source
    }

    private init(_ member: Member, of configuration: Configuration) throws(StartError) {
        guard let address = try? HostPort.parse(member.address) else {
            throw .flags("the cluster has no replication address for \(member.label)")
        }
        self.init(
            id: member.id, address: address,
            peers: Self.peers(configuration.members.filter { $0.id != member.id }), founders: [],
            source: "the cluster's configuration")
    }
}

/// What a member answered a node that joins. A plain value.
package struct JoinedMember: Equatable, Sendable {
    package let id: MemberID
    /// It has that member.
    package let configuration: Configuration

    package init(id: MemberID, configuration: Configuration) {
        self.id = id
        self.configuration = configuration
    }
}
