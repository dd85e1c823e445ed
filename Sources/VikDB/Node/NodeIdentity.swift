import VikWire

/// Who a node is: fixed from its start on. A plain value.
package struct NodeIdentity: Sendable {
    package let member: MemberID
    package let store: StoreID
    /// `-node-id`.
    package let label: String
    /// Its own entry of `-cluster`; for a node alone, a name that no peer ever dials.
    package let address: String
    /// What other members tell clients about this one (design rule 13).
    package let apiAddress: String
    /// False for a node alone, without `-node-id` and `-cluster`.
    package let isReplicated: Bool
    let founders: [Founding.Founder]

    /// - Parameters:
    ///   - cluster: all entries of `-cluster`, the own one among them.
    ///   - bootstrapWithout: entries that the first start does not wait for.
    package init(
        store: StoreID, label: String, address: String, apiAddress: String, isReplicated: Bool,
        cluster: [String], bootstrapWithout: [String] = []
    ) {
        precondition(cluster.contains(address), "a node is a member of its own cluster")
        self.member = .founder(address: address)
        self.store = store
        self.label = label
        self.address = address
        self.apiAddress = apiAddress
        self.isReplicated = isReplicated
        self.founders = cluster.map {
            Founding.Founder(
                id: .founder(address: $0), address: $0, isOptional: bootstrapWithout.contains($0))
        }
    }
}
