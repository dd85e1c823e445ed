import VikWire

/// Who a node is: fixed from its start on. A plain value.
package struct NodeIdentity: Sendable {
    package let member: MemberID
    package let store: StoreID
    /// `-node-id`.
    package let label: String
    /// Its replication address, as the configuration has it; for a node alone, a name that no peer ever dials.
    package let address: String
    /// What other members tell clients about this one (design rule 13).
    package let apiAddress: String
    /// False for a node alone, without `-node-id`.
    package let isReplicated: Bool
    /// Who founds the cluster; nobody where the store remembers one, or joins one.
    package let founders: [Founding.Founder]
    /// What a member answered when this node asked who it is; nil where it did not have to ask.
    package let joined: Configuration?

    /// - Parameters:
    ///   - cluster: all entries of `-cluster`, the own one among them, if this node may have to found the cluster.
    ///   - bootstrapWithout: entries that the first start does not wait for.
    package init(
        member: MemberID, store: StoreID, label: String, address: String, apiAddress: String, isReplicated: Bool,
        cluster: [String], bootstrapWithout: [String] = [], joined: Configuration? = nil
    ) {
        self.member = member
        self.store = store
        self.label = label
        self.address = address
        self.apiAddress = apiAddress
        self.isReplicated = isReplicated
        self.joined = joined
        self.founders = cluster.map {
            Founding.Founder(
                id: .founder(address: $0), address: $0, isOptional: bootstrapWithout.contains($0))
        }
        precondition(
            founders.isEmpty || founders.contains { $0.id == member }, "a founder is a member of its own cluster")
    }

    /// Whom it dials before its log tells: those that it was told of, or those of `-cluster`.
    var firstPeers: [Member] {
        let told =
            joined?.members
            ?? founders.map { Member(id: $0.id, store: .zero, address: $0.address, label: "") }
        return told.filter { $0.id != member }
    }
}
