import Logging
import NIOCore
import VikWire

/// The node's connections to its peers: two to each that it dials and sends on, two from each that it accepts and
/// receives on, and a third one either way while a snapshot is sent (design rule 6; `proto-spec.md`).
///
/// Bound to the node's loop: made, used and called back there, and not Sendable. It lives until ``close()``.
package final class PeerTransport {
    private struct Links {
        let peer: PeerAddress
        let control: PeerLink
        let bulk: PeerLink
        /// Only while it is wanted.
        var snapshot: PeerLink?

        func start() {
            control.start()
            bulk.start()
            snapshot?.start()
        }

        func hurry() {
            control.hurry()
            bulk.hurry()
            snapshot?.hurry()
        }

        func end(_ ending: PeerConnection.Ending) {
            control.end(ending)
            bulk.end(ending)
            snapshot?.end(ending)
        }

        func keep(_ store: StoreID) {
            control.keep(store)
            bulk.keep(store)
            snapshot?.keep(store)
        }

        func stop(_ ending: PeerConnection.Ending) {
            control.stop(ending)
            bulk.stop(ending)
            snapshot?.stop(ending)
            peer.stop()
        }
    }

    let eventLoop: any EventLoop
    let options: TransportOptions
    let logger: Logger
    /// Bytes of messages handed to sockets since the start.
    package internal(set) var bytesSent: UInt64 = 0
    unowned let delegate: any TransportDelegate
    private let identity: TransportIdentity
    private let resolver: NameResolver
    /// Where to listen.
    private let ownAddress: PeerAddress
    private lazy var listener = PeerListener(of: self)
    package private(set) var serverSocket: (any NIOCore.Channel)?
    private var links: [MemberID: Links] = [:]
    private var isStarted = false
    private var isClosed = false

    /// - Parameters:
    ///   - address: where to listen.
    ///   - peers: the other members and where they listen.
    package init(
        eventLoop: any EventLoop, identity: TransportIdentity, listenOn address: HostPort,
        peers: [(member: MemberID, address: HostPort)], delegate: any TransportDelegate, logger: Logger,
        options: TransportOptions
    ) {
        eventLoop.preconditionInEventLoop()
        self.eventLoop = eventLoop
        self.identity = identity
        self.delegate = delegate
        self.logger = logger
        self.options = options
        resolver = NameResolver(eventLoop: eventLoop, lookUp: options.lookUp)
        ownAddress = PeerAddress(
            address, resolver: resolver, eventLoop: eventLoop, options: options, logger: logger,
            limit: options.ownLookUpTimeout)
        setPeers(peers)
    }

    /// Listens, and then dials the peers.
    ///
    /// - Returns: the port bound.
    package func start() -> EventLoopFuture<Int> {
        findOwnAddress().assumeIsolated().flatMap { [self] address in
            listener.bind(to: address)
        }.flatMapThrowing { [self] (socket: any NIOCore.Channel) in
            guard !isClosed, let port = socket.localAddress?.port else {
                socket.close(promise: nil)
                throw ChannelError.ioOnClosedChannel
            }
            serverSocket = socket
            isStarted = true
            startLinks()
            return port
        }.nonisolated()
    }

    private func findOwnAddress() -> EventLoopFuture<SocketAddress> {
        let found = eventLoop.makePromise(of: SocketAddress.self)
        ownAddress.find { result in
            switch result {
            case .success(let addresses): found.succeed(addresses[0])
            case .failure(let ending): found.fail(ListenError(description: ending.description))
            }
        }
        return found.futureResult
    }

    /// Replaces the list of peers: new ones are dialled, those that are gone are let go, those that have moved are
    /// dialled at their new address. Without effect once closed.
    package func setPeers(_ peers: [(member: MemberID, address: HostPort)]) {
        guard !isClosed else { return }
        let wanted = Dictionary(
            peers.lazy.filter { $0.member != self.identity.member }.map { ($0.member, $0.address) },
            uniquingKeysWith: { $1 })
        precondition(wanted.count < WireLimits.maxMembers, "a configuration has no more members")
        let former = links
        for (member, old) in former where wanted[member] != old.peer.address {
            links[member] = nil
            old.stop(.notPeer)
        }
        for (member, address) in wanted where links[member] == nil {
            let peer = PeerAddress(
                address, resolver: resolver, eventLoop: eventLoop, options: options, logger: logger)
            links[member] = Links(
                peer: peer, control: PeerLink(to: member, at: peer, on: .control, of: self),
                bulk: PeerLink(to: member, at: peer, on: .bulk, of: self))
            if former[member]?.snapshot != nil { openSnapshotConnection(to: member) }
        }
        listener.endConnections { links[$0] != nil }
        startLinks()
    }

    private func startLinks() {
        guard isStarted else { return }
        for link in links.values { link.start() }
    }

    /// Dials a peer's connection for a snapshot, and goes on dialling it until it is closed or the peer is one no more.
    package func openSnapshotConnection(to member: MemberID) {
        guard let link = links[member], link.snapshot == nil else { return }
        links[member]!.snapshot = PeerLink(to: member, at: link.peer, on: .snapshot, of: self)
        startLinks()
    }

    /// What has not been flushed is lost. If it was connected, the delegate is told that it is no longer.
    package func closeSnapshotConnection(to member: MemberID) {
        let snapshot = links[member]?.snapshot
        links[member]?.snapshot = nil
        snapshot?.stop(.notNeeded)
    }

    /// Ends all connections to and from a peer that said what no peer may. Those that this node dials it dials again after
    /// the usual pause, and so does the peer.
    package func refuse(_ member: MemberID, reason: String) {
        let ending = PeerConnection.Ending.refused(reason)
        links[member]?.end(ending)
        listener.end(ending, ofMember: member)
    }

    /// Queues a message for the next ``flush()``; dropped if the peer is not connected or reads too slowly.
    package func send(_ message: Message, to member: MemberID) {
        guard let link = links[member] else { return }
        switch message.channel {
        case .control: link.control.send(message)
        case .bulk: link.bulk.send(message)
        case .snapshot: link.snapshot?.send(message)
        }
    }

    /// Hands what was sent since the last flush to the sockets: one write for each connection that has something.
    package func flush() {
        for link in links.values {
            link.control.flush()
            link.bulk.flush()
            link.snapshot?.flush()
        }
    }

    /// Ends every connection; the delegate is not called any more.
    package func close() -> EventLoopFuture<Void> {
        isClosed = true
        isStarted = false
        for link in links.values { link.stop(.stopped) }
        links = [:]
        ownAddress.stop()
        resolver.close()
        listener.stop()
        guard let serverSocket else { return eventLoop.makeSucceededVoidFuture() }
        self.serverSocket = nil
        return serverSocket.close()
    }

    // MARK: For links and listener

    func hello(to peer: MemberID, on channel: VikWire.Channel) -> Hello {
        identity.hello(to: peer, on: channel, delegate.localHello(to: peer))
    }

    func answer(to hello: Hello) -> Hello {
        identity.answer(to: hello, delegate.localHello(to: hello.member))
    }

    /// The store on record for `peer`'s member has dialled: links to another one that showed itself in its place end.
    func keepLinks(toStoreOf peer: Hello) {
        links[peer.member]?.keep(peer.store)
    }

    /// A peer that has dialled this node is up: one that restarted need not wait until it is dialled again.
    func hurry(to member: MemberID) {
        links[member]?.hurry()
    }

    func refusal(of hello: Hello, dialled: (member: MemberID, channel: VikWire.Channel)?) -> HelloRefusal? {
        let local = delegate.localHello(to: hello.member)
        if let refusal = identity.refusal(of: hello, local, dialled: dialled, isPeer: { links[$0] != nil }) {
            return refusal
        }
        return delegate.storeRefusal(of: hello).map {
            HelloRefusal(cause: "\(hello.label) at \(hello.address) \($0)", isOfOtherStore: true)
        }
    }

    /// Tells the delegate later, because it may be in the midst of a call to this transport.
    func tellDelegateLater(_ call: @escaping (any TransportDelegate) -> Void) {
        eventLoop.assumeIsolated().execute { [self] in
            guard !isClosed else { return }
            call(delegate)
        }
    }
}

/// Why a node cannot listen, where it is not the system that says so.
private struct ListenError: Error, CustomStringConvertible {
    let description: String
}
