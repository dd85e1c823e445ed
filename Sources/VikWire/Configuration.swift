import NIOCore

/// What a member counts for.
package enum MemberRole: UInt8, Sendable, CaseIterable {
    /// Votes, and counts for a majority.
    case voter = 0
    /// Gets the log and serves reads, but counts for nothing.
    case learner = 1
    /// A learner that the leader makes a voter as soon as it has caught up.
    case voterToBe = 2
}

/// One member of a cluster, as its configuration records it.
package struct Member: Equatable, Sendable {
    package let id: MemberID
    /// The store that counts for this member. A member that shows another store has lost its disk: it counts for
    /// nothing until an entry with its new store is committed by a quorum of the others (design rule 10).
    package var store: StoreID
    package var role: MemberRole
    /// Its replication address, `host:port`.
    package var address: String
    /// Its `-node-id`; empty until it has told the founder of the cluster.
    package var label: String

    package init(id: MemberID, store: StoreID, role: MemberRole = .voter, address: String, label: String) {
        self.id = id
        self.store = store
        self.role = role
        self.address = address
        self.label = label
    }
}

/// The payload of an entry of kind ``EntryKind/configuration``: which cluster this is and who belongs to it.
///
/// The first entry of every log is one (design rule 7). Layout, strings being a two-byte length and UTF-8:
///
///     16 incarnation, 2 number of members (1...15), then for each: 8 id, 16 store id, 1 role, string address,
///     string label
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

    package var voters: [Member] { members.filter { $0.role == .voter } }
    /// Without making a list of them: it is asked for at every acknowledgement.
    package var voterCount: Int { members.count { $0.role == .voter } }

    /// The same configuration with `change` made to the member `id`.
    package func changing(_ id: MemberID, _ change: (inout Member) -> Void) -> Configuration {
        var copy = self
        for index in copy.members.indices where copy.members[index].id == id { change(&copy.members[index]) }
        return copy
    }

    package func adding(_ member: Member) -> Configuration {
        Configuration(incarnation: incarnation, members: members + [member])
    }

    package func removing(_ id: MemberID) -> Configuration {
        Configuration(incarnation: incarnation, members: members.filter { $0.id != id })
    }
}
