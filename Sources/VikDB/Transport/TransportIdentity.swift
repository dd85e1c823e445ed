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
            channel: channel, incarnation: local.incarnation, member: member, peer: peer, store: store,
            state: local.state, recordedStore: local.recordedStore, label: label, address: address.description, apiAddress: apiAddress.description)
    }

    /// Why a well-formed Hello is not that of a peer of this node; nil: it is. `proto-spec.md` has the rules.
    ///
    /// - Parameter dialled: whom this node dialled and for which channel; nil when it was dialled.
    func refusal(
        of hello: Hello, incarnation: Incarnation, dialled: (member: MemberID, channel: VikWire.Channel)?,
        isPeer: (MemberID) -> Bool
    ) -> String? {
        let who = "\(hello.label) at \(hello.address)"
        if hello.member == member {
            return "\(who) has this node's own member id"
        }
        if let dialled, hello.member != dialled.member {
            return "\(who) answers, which is another member"
        }
        if let dialled, hello.channel != dialled.channel {
            return "\(who) answers for the other channel"
        }
        if !isPeer(hello.member) {
            return "\(who) is not a member of this cluster"
        }
        if hello.peer != member {
            return "\(who) means to reach another member"
        }
        if hello.incarnation != incarnation, hello.incarnation != .zero, incarnation != .zero {
            return "\(who) belongs to another cluster"
        }
        return nil
    }
}

/// Receives what the transport has to say; all calls come on the node's loop, none from within a call to the transport.
/// The transport does not keep its delegate alive: it is closed before its delegate goes.
package protocol TransportDelegate: AnyObject {
    /// A message from a peer that is through its handshake. Those of one read come one by one …
    func transportReceived(_ message: Message, from peer: Hello)
    /// … and then this, so that they can be handled as one batch.
    func transportReadComplete()
    /// A connection that this node dialled is through its handshake: from now on messages reach the peer.
    func transportConnected(_ peer: Hello, _ channel: VikWire.Channel)
    /// That connection is lost, and with it perhaps messages that were sent.
    func transportDisconnected(_ member: MemberID, _ channel: VikWire.Channel)
    /// A peer's connection to this node is through its handshake.
    func transportAccepted(_ peer: Hello)
    /// Asked at each handshake.
    func localHello(to member: MemberID) -> LocalHello
}
