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

/// What a node understands beyond its version of the protocol. On a connection a feature is in use if both Hellos have
/// its bit.
package struct HelloFeatures: OptionSet, Sendable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// An answer may say that the dialler's store is refused: ``Hello/isStoreRefused``.
    package static let storeRefusal = HelloFeatures(rawValue: 1 << 1)
    /// An answer tells where the log ends, and a leader may say what it makes of that: ``LogEnd``, ``StoreVerdict``.
    package static let logEnd = HelloFeatures(rawValue: 1 << 2)
    /// An answer to a heartbeat may say that the disk is full.
    package static let diskReports = HelloFeatures(rawValue: 1 << 4)

    /// Those of this build.
    package static let own: HelloFeatures = [.storeRefusal, .logEnd, .diskReports]
}

/// How far a node's log goes, and how far it knows it to be committed. A plain value.
package struct LogEnd: Equatable, Sendable {
    /// The highest that the node has seen; 0: none.
    package var term: Term
    /// Index and term of the last durable entry.
    package var durableIndex: LogIndex
    package var durableTerm: Term
    /// Of the last entry that is durable and known to be committed.
    package var commitIndex: LogIndex
    package var commitTerm: Term

    package init(
        term: Term, durableIndex: LogIndex, durableTerm: Term, commitIndex: LogIndex, commitTerm: Term
    ) {
        self.term = term
        self.durableIndex = durableIndex
        self.durableTerm = durableTerm
        self.commitIndex = commitIndex
        self.commitTerm = commitTerm
    }
}

/// What a leader knew, when it said Hello, of the log of the member that it dialled. It is not sent, but held against the
/// answer, which was written later: so a store that says less than this has lost what it acknowledged. A plain value.
package struct AcknowledgedLog: Equatable, Sendable {
    /// That the leader leads in.
    package var term: Term
    package var store: StoreID
    /// The store has acknowledged everything up to here, in that term.
    package var index: LogIndex

    package init(term: Term, store: StoreID, index: LogIndex) {
        self.term = term
        self.store = store
        self.index = index
    }
}

/// What a node says of its log in a handshake with one peer, at that moment. A plain value.
package struct LocalHello: Equatable, Sendable {
    package var incarnation: Incarnation
    /// Not told to anybody: of which cluster the node's log speaks, while that is not known to be committed. Enough to
    /// take an answer's word for what it says of this node.
    package var presumedIncarnation: Incarnation
    package var state: StoreState
    package var recordedStore: StoreID
    package var logEnd: LogEnd?

    package init(
        incarnation: Incarnation, presumedIncarnation: Incarnation = .zero, state: StoreState,
        recordedStore: StoreID = .zero, logEnd: LogEnd? = nil
    ) {
        self.incarnation = incarnation
        self.presumedIncarnation = presumedIncarnation
        self.state = state
        self.recordedStore = recordedStore
        self.logEnd = logEnd
    }
}

/// The first frame in each direction of a replication connection (design rule 11): the dialler sends its Hello, the
/// acceptor answers with its own. Anything else closes the connection before a byte of it is trusted.
package struct Hello: Equatable, Sendable {
    /// Oldest and newest protocol version spoken. The connection uses the lower of both newest ones.
    package var minVersion: UInt16
    package var maxVersion: UInt16
    /// Features understood: bits of ``HelloFeatures``, and such as only later builds know. An answer repeats none that
    /// the dialler lacks.
    package var features: UInt64
    package var channel: Channel
    /// In an answer: the dialler is no member of the cluster (any more), and the connection closes.
    package var isPeerUnknown: Bool
    /// In an answer: another store is on record for the dialler's member, and the connection closes.
    package var isStoreRefused = false
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
    /// In an answer to a dialler that understands it.
    package var logEnd: LogEnd?

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

    package func understands(_ feature: HelloFeatures) -> Bool {
        HelloFeatures(rawValue: features).contains(feature)
    }
}
