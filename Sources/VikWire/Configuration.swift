import NIOCore

/// One member of a cluster, as its configuration records it.
package struct Member: Equatable, Sendable {
    package let id: MemberID
    /// The store that counts for this member. A member that shows another store has lost its disk: it counts for
    /// nothing until an entry with its new store is committed by a quorum of the others (design rule 10).
    package var store: StoreID
    /// Its replication address, `host:port`.
    package var address: String
    /// Its `-node-id`; empty until it has told the founder of the cluster.
    package var label: String

    package init(id: MemberID, store: StoreID, address: String, label: String) {
        self.id = id
        self.store = store
        self.address = address
        self.label = label
    }
}

/// The payload of an entry of kind ``EntryKind/configuration``: which cluster this is and who belongs to it.
///
/// The first entry of every log is one (design rule 7). Layout, strings being a two-byte length and UTF-8:
///
///     16 incarnation, 2 number of members (1...15), then for each: 8 id, 16 store id, string address, string label
package struct Configuration: Equatable, Sendable {
    package var incarnation: Incarnation
    /// Sorted by id, so that equal configurations have equal bytes.
    package private(set) var members: [Member]

    package init(incarnation: Incarnation, members: [Member]) {
        self.incarnation = incarnation
        self.members = members.sorted { $0.id < $1.id }
    }

    package func member(_ id: MemberID) -> Member? {
        members.first { $0.id == id }
    }

    /// The same configuration with another store for `id`.
    package func replacingStore(of id: MemberID, with store: StoreID) -> Configuration {
        var copy = self
        for index in copy.members.indices where copy.members[index].id == id {
            copy.members[index].store = store
        }
        return copy
    }
}
