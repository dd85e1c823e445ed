import VikWire

/// What an operator asks of a cluster. Members go by their `-node-id`.
package enum AdminRequest: Equatable, Sendable {
    /// A new member, or another address of one that is there.
    case setMember(label: String, address: String, becomesVoter: Bool)
    case promote(label: String)
    case remove(label: String)
    /// Hand the leader's office over; nil: to whoever has most of the log.
    case handOver(to: String?)
    /// Merge this node's tables until nothing in them is out of date. Of no other node.
    case mergeTables
}

/// Why an operator's wish was not carried out.
package enum AdminRefusal: Equatable, Sendable {
    /// Not the leader; its API address if one is known.
    case notLeader(leader: String?)
    case noSuchMember(String)
    /// Try again in a moment; the sentence says why.
    case busy(String)
    /// It contradicts the members as they are, or would stop the cluster.
    case impossible(String)
    case notReady(String)
}

/// One member, for status.
package struct MemberStatus: Equatable, Sendable {
    package var id: MemberID
    package var label: String
    package var address: String
    /// As it announced it; nil: it has not been met.
    package var apiAddress: String?
    package var role: MemberRole
    package var isLeader: Bool
    /// At the leader, of the others: how far the member's log is known to match, how many entries that is behind the
    /// leader's last one, and how long ago something came from it.
    package var match: LogIndex?
    package var lag: UInt64?
    package var lastContactMilliseconds: UInt64?
    /// How much of a snapshot it has, in percent; nil: none is being sent to it.
    package var snapshotPercent: Int?

    package init(
        id: MemberID, label: String, address: String, apiAddress: String?, role: MemberRole, isLeader: Bool,
        match: LogIndex? = nil, lag: UInt64? = nil, lastContactMilliseconds: UInt64? = nil, snapshotPercent: Int? = nil
    ) {
        self.id = id
        self.label = label
        self.address = address
        self.apiAddress = apiAddress
        self.role = role
        self.isLeader = isLeader
        self.match = match
        self.lag = lag
        self.lastContactMilliseconds = lastContactMilliseconds
        self.snapshotPercent = snapshotPercent
    }
}
