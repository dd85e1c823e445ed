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

    /// - Parameters:
    ///   - cluster: all entries of `-cluster`, the own one among them, if this node may have to found the cluster.
    ///   - bootstrapWithout: entries that the first start does not wait for.
    package init(
        member: MemberID, store: StoreID, label: String, address: String, apiAddress: String, isReplicated: Bool,
        cluster: [String], bootstrapWithout: [String] = []
    ) {
        self.member = member
        self.store = store
        self.label = label
        self.address = address
        self.apiAddress = apiAddress
        self.isReplicated = isReplicated
        self.founders = cluster.map {
            Founding.Founder(
                id: .founder(address: $0), address: $0, isOptional: bootstrapWithout.contains($0))
        }
        precondition(
            founders.isEmpty || founders.contains { $0.id == member }, "a founder is a member of its own cluster")
    }
}
