import VikWire

/// Who this node is to its peers; what does not change while it runs. A plain value.
package struct TransportIdentity: Sendable {
    package let member: MemberID
    package let store: StoreID
    package let label: String
    /// The own entry of the configuration, `host:port`.
    package let address: HostPort
    /// Where clients reach this node (design rule 13).
    package let apiAddress: HostPort

    package init(member: MemberID, store: StoreID, label: String, address: HostPort, apiAddress: HostPort) {
        self.member = member
        self.store = store
        self.label = label
        self.address = address
        self.apiAddress = apiAddress
    }

    func hello(to peer: MemberID, on channel: VikWire.Channel, _ local: LocalHello) -> Hello {
        Hello(
            features: HelloFeatures.own.rawValue, channel: channel, incarnation: local.incarnation, member: member,
            peer: peer, store: store,
            state: local.state, recordedStore: local.recordedStore, label: label, address: address.description,
            apiAddress: apiAddress.description)
    }

    /// The answer to `hello`, which has only what its sender understands.
    func answer(to hello: Hello, _ local: LocalHello) -> Hello {
        var answer = self.hello(to: hello.member, on: hello.channel, local)
        answer.features &= hello.features
        if answer.understands(.logEnd), let end = local.logEnd {
            answer.logEnd = end
        } else {
            answer.features &= ~HelloFeatures.logEnd.rawValue
        }
        return answer
    }

    /// Why a well-formed Hello is not that of a peer of this node; nil: it is. `proto-spec.md` has the rules.
    ///
    /// - Parameter dialled: whom this node dialled and for which channel; nil when it was dialled.
    func refusal(
        of hello: Hello, _ local: LocalHello, dialled: (member: MemberID, channel: VikWire.Channel)?,
        isPeer: (MemberID) -> Bool
    ) -> HelloRefusal? {
        let who = "\(hello.label) at \(hello.address)"
        let incarnation = local.incarnation
        let isOfOwnCluster = hello.incarnation == incarnation && incarnation != .zero
        if hello.member == member {
            return HelloRefusal(cause: "\(who) has this node's own member id")
        }
        if let dialled, hello.member != dialled.member {
            return HelloRefusal(cause: "\(who) answers, which is another member")
        }
        if let dialled, hello.channel != dialled.channel {
            return HelloRefusal(cause: "\(who) answers for the other channel")
        }
        if !isPeer(hello.member) {
            return HelloRefusal(
                cause: "\(who) is not a member of this cluster",
                isOfFormerMember: dialled == nil && isOfOwnCluster && hello.peer == member,
                mayBeNew: dialled == nil && hello.peer == member && hello.incarnation != .zero
                    && (isOfOwnCluster || incarnation == .zero))
        }
        if hello.label == label {
            return HelloRefusal(cause: "\(who) has this node's own -node-id")
        }
        if hello.peer != member {
            return HelloRefusal(cause: "\(who) means to reach another member")
        }
        if hello.incarnation != incarnation, hello.incarnation != .zero, incarnation != .zero {
            return HelloRefusal(cause: "\(who) belongs to another cluster")
        }
        let isOfPresumedCluster =
            incarnation == .zero && hello.incarnation == local.presumedIncarnation && hello.incarnation != .zero
        if hello.isStoreRefused, !isOfOwnCluster, !isOfPresumedCluster {
            return HelloRefusal(cause: "\(who) refuses this node's store, but may belong to another cluster")
        }
        if hello.isPeerUnknown, !isOfOwnCluster, !isOfPresumedCluster {
            return HelloRefusal(cause: "\(who) does not know this node, but may belong to another cluster")
        }
        return nil
    }
}

/// Why a Hello ends its connection. A plain value.
struct HelloRefusal {
    /// The same words for the same cause.
    let cause: String
    /// Its sender belongs to this cluster's incarnation but is no member: it was removed, perhaps while it was away,
    /// and is told so.
    var isOfFormerMember = false
    /// It is no member as far as this node knows, which may know less than its sender does.
    var mayBeNew = false
    /// Another store is on record for its sender's member, and its sender is told so.
    var isOfOtherStore = false
}

/// Receives what the transport has to say; all calls come on the node's loop, none from within a call to the transport,
/// and each may call the transport. The transport does not keep its delegate alive: it is closed before its delegate
/// goes.
package protocol TransportDelegate: AnyObject {
    /// A message from a peer that is through its handshake. Those of one read come one by one …
    func transportReceived(_ message: Message, from peer: Hello)
    /// … and then this, so that they can be handled as one batch.
    func transportReadComplete()
    /// A connection that this node dialled is through its handshake: from now on messages reach the peer.
    ///
    /// - Parameter acknowledged: what ``acknowledgedLog(of:)`` said when this node said Hello.
    func transportConnected(_ peer: Hello, _ channel: VikWire.Channel, acknowledged: AcknowledgedLog?)
    /// That connection is lost, and with it perhaps messages that were sent.
    func transportDisconnected(_ member: MemberID, _ channel: VikWire.Channel)
    /// A peer's connection to this node is through its handshake.
    func transportAccepted(_ peer: Hello)
    /// A node dialled that is no peer, and belongs to this node's own cluster, if this node knows of one.
    ///
    /// - Returns: whether it may be a member that was added while this node was away; it then is made a peer.
    func transportAcquainted(_ stranger: Hello) -> Bool
    /// A peer of this node's own incarnation answered that this node is no member. It may be behind itself; the
    /// transport goes on asking it, with its longest pause.
    func transportIsUnknown(to peer: Hello)
    /// A peer of this node's own incarnation answered that another store than this node's is on record for its member;
    /// the transport goes on asking it, with its longest pause.
    func transportIsRefused(by peer: Hello)
    /// Asked at each handshake with a peer: why its store is not talked to now, in the same words for the same cause; nil:
    /// it is.
    func storeRefusal(of peer: Hello) -> String?
    /// Whether the store of a peer is the one on record for its member, as far as this node knows.
    func isOnRecord(_ peer: Hello) -> Bool
    /// Asked when this node dials a peer, before it says Hello.
    func acknowledgedLog(of member: MemberID) -> AcknowledgedLog?
    /// Asked when a node that does not know its member id wants to be told.
    ///
    /// - Parameter answer: called once, now or later; with nil if this node cannot tell.
    func joinReply(to request: JoinRequest, _ answer: @escaping (JoinReply?) -> Void)
    /// Asked at each handshake.
    func localHello(to member: MemberID) -> LocalHello
}
