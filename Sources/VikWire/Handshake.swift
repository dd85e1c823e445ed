/// What a connection is for. The receiver assumes no order between the two (design rule 6).
package enum Channel: UInt8, Sendable, CaseIterable {
    /// Votes, heartbeats, acknowledgements, read index.
    case control = 0
    /// AppendEntries.
    case bulk = 1
    /// The chunks of a snapshot; open only while one is sent.
    case snapshot = 2
}

/// What a store remembers of its cluster; decides who may found one (design rule 9).
package enum StoreState: UInt8, Sendable, CaseIterable {
    /// Nothing: it never saw a term nor an entry.
    case empty = 0
    /// It holds entries.
    case entries = 1
    /// It has seen a term, and may have voted in it, but holds no entry: its cluster is still being founded.
    case voted = 2
}

/// What a node says of its log in a handshake with one peer, at that moment. A plain value.
package struct LocalHello: Equatable, Sendable {
    package var incarnation: Incarnation
    package var state: StoreState
    package var recordedStore: StoreID

    package init(incarnation: Incarnation, state: StoreState, recordedStore: StoreID = .zero) {
        self.incarnation = incarnation
        self.state = state
        self.recordedStore = recordedStore
    }
}

/// The first frame in each direction of a replication connection (design rule 11): the dialler sends its Hello, the
/// acceptor answers with its own. Anything else closes the connection before a byte of it is trusted.
package struct Hello: Equatable, Sendable {
    /// Oldest and newest protocol version spoken. The connection uses the lower of both newest ones.
    package var minVersion: UInt16
    package var maxVersion: UInt16
    /// Features understood; none is defined yet.
    package var features: UInt64
    package var channel: Channel
    /// In an answer: the dialler is no member of the cluster (any more), and the connection closes.
    package var isPeerUnknown: Bool
    /// The cluster this node belongs to, or `.zero` if it does not know yet.
    package var incarnation: Incarnation
    package var member: MemberID
    /// The member that the dialler means to reach (the answerer: the member it answers), so that a wrong address in a
    /// `-cluster` list is found out at once.
    package var peer: MemberID
    package var store: StoreID
    package var state: StoreState
    /// The store that the sender's first entry, which founded the cluster, records for the receiver; `.zero` if it
    /// has none. A store that finds itself there has lost nothing since (design rule 9).
    package var recordedStore: StoreID
    package var label: String
    /// Replication address, `host:port`, as in the configuration.
    package var address: String
    /// API address announced to clients, `host:port` (design rule 13).
    package var apiAddress: String

    package static let currentVersion: UInt16 = 1

    package init(
        minVersion: UInt16 = Hello.currentVersion, maxVersion: UInt16 = Hello.currentVersion, features: UInt64 = 0,
        channel: Channel, isPeerUnknown: Bool = false, incarnation: Incarnation,
        member: MemberID, peer: MemberID, store: StoreID, state: StoreState, recordedStore: StoreID = .zero,
        label: String, address: String, apiAddress: String
    ) {
        self.minVersion = minVersion
        self.maxVersion = maxVersion
        self.features = features
        self.channel = channel
        self.isPeerUnknown = isPeerUnknown
        self.incarnation = incarnation
        self.member = member
        self.peer = peer
        self.store = store
        self.state = state
        self.recordedStore = recordedStore
        self.label = label
        self.address = address
        self.apiAddress = apiAddress
    }
}
