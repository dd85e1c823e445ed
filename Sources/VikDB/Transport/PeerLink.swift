import Logging
import NIOCore
import VikWire

/// This node's way to one peer on one channel: dials, shakes hands, queues what is sent, and dials again for as long as
/// the peer is a peer.
///
/// Bound to the node's loop.
final class PeerLink: PeerConnectionOwner {
    private enum State {
        case new
        case dialling
        case connected(PeerConnection)
        case waiting(Scheduled<Void>)
        case stopped
    }

    private let peer: PeerAddress
    private let member: MemberID
    private let channel: VikWire.Channel
    private unowned let transport: PeerTransport
    private let maxQueueBytes: Int
    private var logger: Logger
    private var state = State.new
    private var retryDelay: RetryDelay
    /// Why the peer cannot be reached, as last logged: the same cause is logged once.
    private var trouble: String?

    /// Nobody answered the last time.
    private var wasUnreachable = false
    /// The connection, once the handshake is done.
    private var open: PeerConnection?
    /// What the peer's store had acknowledged when this node said Hello.
    private var acknowledged: AcknowledgedLog?
    private var openedAt = NIODeadline.uptimeNanoseconds(0)
    /// Frames encoded since the last flush.
    private var pending = ByteBuffer()
    /// What earlier flushes left unsent, as last seen.
    private var unsentBytes = 0

    init(to member: MemberID, at peer: PeerAddress, on channel: VikWire.Channel, of transport: PeerTransport) {
        self.member = member
        self.peer = peer
        self.channel = channel
        self.transport = transport
        let options = transport.options
        maxQueueBytes = options.maxQueueBytes(channel)
        retryDelay = RetryDelay(
            least: options.minRetryDelay, most: options.maxRetryDelay,
            seed: options.seed ^ member.rawValue ^ UInt64(channel.rawValue))
        logger = transport.logger
        logger[metadataKey: "peer"] = "\(peer.address)"
        logger[metadataKey: "channel"] = "\(channel)"
    }

    func start() {
        guard case .new = state else { return }
        dial()
    }

    /// The peer is up: a pause before it is dialled again ends, unless it was there when it was dialled last.
    func hurry() {
        guard case .waiting(let timer) = state, wasUnreachable else { return }
        timer.cancel()
        dial()
    }

    /// Ends the connection if it reaches another store.
    func keep(_ store: StoreID) {
        guard let open, let peer = open.peer, peer.store != store else { return }
        open.end(.otherStore)
    }

    func stop(_ ending: PeerConnection.Ending) {
        let last = state
        state = .stopped
        switch last {
        case .connected(let connection): connection.end(ending)
        case .waiting(let timer): timer.cancel()
        case .new, .dialling, .stopped: break
        }
    }

    /// Ends the connection, if there is one; the peer is dialled again after a pause.
    func end(_ ending: PeerConnection.Ending) {
        if case .connected(let connection) = state { connection.end(ending) }
    }

    // MARK: Sending

    func send(_ message: Message) {
        guard let open else { return }
        if unsentBytes + pending.readableBytes >= maxQueueBytes {
            unsentBytes = open.unsentBytes
            guard unsentBytes + pending.readableBytes < maxQueueBytes else {
                // What a lost heartbeat costs the next one makes good; a gap in the others stops them.
                if channel != .control { open.end(.queueFull) }
                return
            }
        }
        FrameEncoder.write(message, into: &pending)
    }

    func flush() {
        guard let open, pending.readableBytes > 0 else { return }
        transport.bytesSent += UInt64(pending.readableBytes)
        open.write(pending)
        unsentBytes = open.unsentBytes
        if unsentBytes == 0, pending.storageCapacity <= TransportOptions.maxIdleBufferBytes {
            pending.clear()
        } else {
            pending = ByteBuffer()
        }
    }

    // MARK: Dialling

    private func dial() {
        state = .dialling
        peer.dial { self.dialled($0) }
    }

    private func dialled(_ result: Result<any NIOCore.Channel, PeerConnection.Ending>) {
        guard case .dialling = state else {
            if case .success(let socket) = result { socket.close(promise: nil) }
            return
        }
        switch result {
        case .failure(let ending):
            wasUnreachable = true
            retry(after: ending)
        case .success(let socket):
            guard socket.isActive else { return retry(after: .closedByPeer) }
            let connection = PeerConnection(
                as: .dialler, expecting: .helloReply, options: transport.options, owner: self)
            state = .connected(connection)
            wasUnreachable = false
            do {
                try socket.pipeline.syncOperations.addHandler(connection)
            } catch {
                connection.end(PeerConnection.Ending(cause: errorText(of: error)))
            }
        }
    }

    private func retry(after ending: PeerConnection.Ending) {
        // Who refuses a peer has said so.
        if trouble != ending.cause, !ending.isRefusal {
            trouble = ending.cause
            logger.warning("not connected to the peer: \(ending)")
        }
        // A node that is no member is not waited for, but it may become one again.
        let pause = ending == .unknownToPeer || ending == .storeRefused ? retryDelay.longest() : retryDelay.next()
        let timer = transport.eventLoop.assumeIsolated().scheduleTask(in: pause) {
            // A timer that is due together with what cancels it still fires.
            if case .waiting = self.state { self.dial() }
        }
        state = .waiting(timer)
    }

    // MARK: PeerConnectionOwner

    func connectionBegan(_ connection: PeerConnection) {}

    func connectionMayGreet(_ connection: PeerConnection) {
        acknowledged = transport.delegate.acknowledgedLog(of: member)
        var bytes = ByteBuffer()
        FrameEncoder.write(hello: transport.hello(to: member, on: channel), into: &bytes)
        connection.write(bytes)
    }

    func connection(_ connection: PeerConnection, received frame: Frame) throws(WireError) {
        let hello = try Hello(from: frame)
        if let refusal = transport.refusal(of: hello, dialled: (member, channel)) {
            return connection.end(PeerConnection.Ending(cause: refusal.cause))
        }
        if hello.isStoreRefused {
            connection.end(.storeRefused)
            return transport.delegate.transportIsRefused(by: hello)
        }
        if hello.isPeerUnknown {
            connection.end(.unknownToPeer)
            return transport.delegate.transportIsUnknown(to: hello)
        }
        connection.established(with: hello, allowing: .nothing)
        peer.reached(at: connection.remoteAddress)
        open = connection
        openedAt = .now()
        trouble = nil
        logger.info("connected to the peer", metadata: ["label": "\(hello.label)"])
        transport.delegate.transportConnected(hello, channel, acknowledged: acknowledged)
    }

    func connectionReadComplete(_ connection: PeerConnection) {}

    func connectionEnded(_ connection: PeerConnection, _ ending: PeerConnection.Ending) {
        let wasOpen = open != nil
        if !wasOpen { peer.disappointed(by: connection.remoteAddress) }
        if wasOpen {
            // One that was open for a moment only is a failure like any other: no fast circle of dialling and losing.
            if openedAt + transport.options.maxRetryDelay < .now() { retryDelay.reset() }
            transport.tellDelegateLater { [member, channel] in $0.transportDisconnected(member, channel) }
        }
        open = nil
        pending = ByteBuffer()
        unsentBytes = 0
        guard case .connected = state else { return }
        retry(after: wasOpen || ending != .closedByPeer ? ending : .unanswered)
    }
}
