import Logging
import NIOCore
import NIOPosix
import VikWire

/// The side of replication that peers dial: accepts, answers the handshake, and hands on what peers send.
///
/// Bound to the node's loop.
final class PeerListener: PeerConnectionOwner {
    private struct Key: Hashable {
        let member: MemberID
        let channel: VikWire.Channel
        /// Whether it showed the store that was on record for the member then.
        let isOnRecord: Bool
    }

    /// Several nodes may dial from one host, each for a cause of its own.
    private struct LoggedRefusal: Hashable {
        let host: String
        let cause: String
    }

    private unowned let transport: PeerTransport
    private let options: TransportOptions
    private let logger: Logger
    /// A socket that the kernel had already handed over may begin after that, when the transport is gone.
    private var isStopped = false
    /// Not yet through the handshake.
    private var strangers: [ObjectIdentifier: PeerConnection] = [:]
    /// Through it: of each channel for each peer one with the store on record, and one with another.
    private var accepted: [Key: PeerConnection] = [:]
    /// Whether the read that is going on brought a message.
    private var hasMessages = false
    /// Why strangers were refused, so that the same cause is logged once for each host.
    private var refusals: Set<LoggedRefusal> = []

    init(of transport: PeerTransport) {
        self.transport = transport
        options = transport.options
        logger = transport.logger
    }

    func bind(to address: SocketAddress) -> EventLoopFuture<any NIOCore.Channel> {
        let listener = NIOLoopBound(self, eventLoop: transport.eventLoop)
        return ServerBootstrap(group: transport.eventLoop, childGroup: transport.eventLoop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { [logger] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoff("replication", logger))
                }
            }
            .childReplicationOptions(options)
            .childChannelInitializer { [options] socket in
                socket.eventLoop.makeCompletedFuture {
                    let connection = PeerConnection(
                        as: .acceptor, expecting: .hello, options: options, owner: listener.value)
                    try socket.pipeline.syncOperations.addHandler(connection)
                }
            }
            .bind(to: address)
    }

    /// Ends the connections of members that are no longer peers.
    func endConnections(exceptOf isPeer: (MemberID) -> Bool) {
        for (key, connection) in accepted where !isPeer(key.member) {
            connection.end(.notPeer)
        }
    }

    /// Ends the connections that a member has dialled.
    func end(_ ending: PeerConnection.Ending, ofMember member: MemberID) {
        for (key, connection) in accepted where key.member == member { connection.end(ending) }
    }

    func stop() {
        isStopped = true
        for connection in Array(strangers.values) + Array(accepted.values) {
            connection.end(.stopped)
        }
    }

    // MARK: PeerConnectionOwner

    func connectionBegan(_ connection: PeerConnection) {
        guard !isStopped else { return connection.end(.stopped) }
        guard strangers.count < options.maxStrangers else { return connection.end(.tooManyStrangers) }
        strangers[ObjectIdentifier(connection)] = connection
    }

    func connectionMayGreet(_ connection: PeerConnection) {}

    func connection(_ connection: PeerConnection, received frame: Frame) throws(WireError) {
        guard let peer = connection.peer else {
            if frame.type == .joinRequest { return answer(connection, try JoinRequest(from: frame)) }
            return try welcome(connection, try Hello(from: frame))
        }
        let message = try Message(from: frame)
        hasMessages = true
        transport.delegate.transportReceived(message, from: peer)
    }

    func connectionReadComplete(_ connection: PeerConnection) {
        guard hasMessages else { return }
        hasMessages = false
        transport.delegate.transportReadComplete()
    }

    func connectionEnded(_ connection: PeerConnection, _ ending: PeerConnection.Ending) {
        guard let peer = connection.peer else {
            strangers[ObjectIdentifier(connection)] = nil
            return logRefusal(of: connection, ending)
        }
        for isOnRecord in [true, false] {
            let key = Key(member: peer.member, channel: peer.channel, isOnRecord: isOnRecord)
            if accepted[key] === connection { accepted[key] = nil }
        }
        // The read that broke the protocol may have brought messages before that.
        if hasMessages { transport.tellDelegateLater { [self] _ in connectionReadComplete(connection) } }
        logger.log(
            level: ending.isViolation ? .warning : .debug, "the peer's connection ended: \(ending)",
            metadata: ["peer": "\(peer.address)", "channel": "\(peer.channel)"])
    }

    private func welcome(_ connection: PeerConnection, _ hello: Hello) throws(WireError) {
        guard !hello.isPeerUnknown else { throw .invalid("a hello with a flag that only an answer may have") }
        var reply = transport.answer(to: hello)
        if let refusal = transport.refusal(of: hello, dialled: nil) {
            if refusal.mayBeNew, transport.delegate.transportAcquainted(hello) {
                // It is a peer from now on, and dials again in a moment.
                return connection.end(PeerConnection.Ending(cause: "\(hello.label) was not heard of before"))
            }
            if refusal.isOfFormerMember {
                reply.isPeerUnknown = true
                send(reply, on: connection)
            }
            if refusal.isOfOtherStore, reply.understands(.storeRefusal) {
                reply.isStoreRefused = true
                send(reply, on: connection)
            }
            return connection.end(PeerConnection.Ending(cause: refusal.cause))
        }
        strangers[ObjectIdentifier(connection)] = nil
        let host = connection.remoteHost
        refusals = refusals.filter { $0.host != host }
        connection.established(with: hello, allowing: .messages(hello.channel))
        let isOnRecord = transport.delegate.isOnRecord(hello)
        let key = Key(member: hello.member, channel: hello.channel, isOnRecord: isOnRecord)
        // The store on record drives out whatever else was taken for this member; another one, which is let in while that
        // is silent, only its own like.
        let driven = isOnRecord ? [key, Key(member: hello.member, channel: hello.channel, isOnRecord: false)] : [key]
        let older = driven.compactMap { accepted.removeValue(forKey: $0) }
        accepted[key] = connection
        for connection in older { connection.end(.replaced) }
        if isOnRecord { transport.keepLinks(toStoreOf: hello) }
        send(reply, on: connection)
        transport.hurry(to: hello.member)
        transport.delegate.transportAccepted(hello)
    }

    private func send(_ reply: Hello, on connection: PeerConnection) {
        var bytes = ByteBuffer()
        FrameEncoder.write(helloReply: reply, into: &bytes)
        connection.write(bytes)
    }

    /// Tells a node that is to become a member who it is.
    private func answer(_ connection: PeerConnection, _ request: JoinRequest) {
        connection.expectNothing()
        transport.delegate.joinReply(to: request) { [self] reply in
            // It may have taken too long for the connection.
            guard strangers[ObjectIdentifier(connection)] === connection else { return }
            answer(connection, request, reply)
        }
    }

    private func answer(_ connection: PeerConnection, _ request: JoinRequest, _ reply: JoinReply?) {
        guard let reply else {
            return connection.end(
                PeerConnection.Ending(
                    cause: "\(request.label) asks who it is, and no majority confirms to this node who the members are")
            )
        }
        var bytes = ByteBuffer()
        FrameEncoder.write(reply, into: &bytes)
        connection.write(bytes)
        if case .unknown = reply {
            connection.end(PeerConnection.Ending(cause: "\(request.label) asks to join, but is no member yet"))
        } else {
            connection.end(.joinAnswered)
        }
    }

    private func logRefusal(of connection: PeerConnection, _ ending: PeerConnection.Ending) {
        let host = connection.remoteHost
        // A probe that only connects is no news, nor is an answer.
        let isNews = ending != .closedByPeer && ending != .stopped && ending != .joinAnswered
        let refusal = LoggedRefusal(host: host, cause: ending.cause)
        guard isNews, !refusals.contains(refusal) else { return }
        if refusals.count >= TransportOptions.maxRememberedRefusals { refusals.removeAll(keepingCapacity: true) }
        refusals.insert(refusal)
        logger.warning("refused a replication connection: \(ending)", metadata: ["from": "\(host)"])
    }
}
