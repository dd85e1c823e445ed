import NIOCore
import VikWire

/// What happens on a ``PeerConnection``.
protocol PeerConnectionOwner: AnyObject {
    /// The socket is open.
    func connectionBegan(_ connection: PeerConnection)
    /// The other side has proved that it knows the cluster's secret, if there is one: the handshake comes next.
    func connectionMayGreet(_ connection: PeerConnection)
    /// A frame of a type that the connection's mode allows. An error ends the connection.
    func connection(_ connection: PeerConnection, received frame: Frame) throws(WireError)
    func connectionReadComplete(_ connection: PeerConnection)
    /// Called once, before the socket is closed; no call follows it.
    func connectionEnded(_ connection: PeerConnection, _ ending: PeerConnection.Ending)
}

/// One TCP connection of replication, dialled or accepted: sees to it that both sides know the cluster's secret, cuts
/// what arrives into frames, and ends at the first byte that breaks the protocol, which costs no other connection
/// anything.
///
/// Bound to the node's loop, as the one handler of its channel.
final class PeerConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The other side, once the handshake is done.
    private(set) var peer: Hello?
    private var owner: (any PeerConnectionOwner)?
    private var context: ChannelHandlerContext?
    private var decoder: FrameDecoder
    /// Until the other side has proved that it knows the secret; nil where there is none.
    private var authentication: PeerAuthentication?
    private let hasSecret: Bool
    /// What may come first of the handshake.
    private let handshakeMode: FrameDecoder.Mode
    /// What has arrived and is not yet a whole frame: at most one frame, whose length has passed its limit, and a read.
    private var rest = ByteBuffer()
    private let options: TransportOptions
    private var watch: AcknowledgementWatch
    /// Of the handshake, then of the next look at what is acknowledged.
    private var timer: Scheduled<Void>?
    private var hasBegun = false

    /// - Parameter mode: what the handshake begins with in the direction of this node.
    init(
        as side: PeerAuthentication.Side, expecting mode: FrameDecoder.Mode, options: TransportOptions,
        owner: any PeerConnectionOwner
    ) {
        authentication = options.secret.map { PeerAuthentication(as: side, knowing: $0) }
        hasSecret = authentication != nil
        handshakeMode = mode
        decoder = FrameDecoder(mode: authentication?.firstMode ?? mode)
        self.options = options
        watch = AcknowledgementWatch(limit: options.unacknowledgedTimeout)
        self.owner = owner
    }

    /// The remote side's host, for log lines.
    var remoteHost: String {
        context?.remoteAddress?.ipAddress ?? "an unknown address"
    }

    /// The handshake is done: `peer` is who it says it is, and only `mode` may follow.
    func established(with peer: Hello, allowing mode: FrameDecoder.Mode) {
        self.peer = peer
        decoder.mode = mode
        timer?.cancel()
        scheduleWatch()
    }

    /// What comes next is an answer of this node, which takes its time.
    func expectNothing() {
        decoder.mode = .nothing
    }

    /// One system call, if the socket takes all of it.
    func write(_ bytes: ByteBuffer) {
        context?.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
    }

    /// Bytes written that the socket has not taken, 0 if they are few.
    var unsentBytes: Int {
        guard let channel = context?.channel, !channel.isWritable else { return 0 }
        return (try? channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    func end(_ ending: Ending) {
        guard let owner else { return }
        self.owner = nil
        timer?.cancel()
        timer = nil
        rest = ByteBuffer()
        owner.connectionEnded(self, ending)
        context?.channel.letKernelGiveUp(after: options.unacknowledgedTimeout)
        context?.close(promise: nil)
    }

    /// Where the other side was reached.
    var remoteAddress: SocketAddress? { context?.remoteAddress }

    // MARK: ChannelInboundHandler

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end(authentication?.closedByPeer ?? .closedByPeer)
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        begin()
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(authentication?.closedByPeer ?? .closedByPeer)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let owner else { return }
        var incoming = unwrapInboundIn(data)
        let startsAfresh = rest.readableBytes == 0
        if startsAfresh { rest = incoming } else { rest.writeBuffer(&incoming) }
        do throws(WireError) {
            while let frame = try decoder.next(from: &rest) {
                if authentication == nil {
                    try owner.connection(self, received: frame)
                } else {
                    try authenticate(with: frame)
                }
                guard self.owner != nil else { return }
            }
        } catch {
            return end(ending(after: error))
        }
        if rest.readableBytes == 0 {
            // Gives the storage back to the channel, which reads into it again unless an entry holds it.
            rest = ByteBuffer()
        } else if startsAfresh || rest.readerIndex > 0 {
            // Into storage of its own: what it shares now, with the channel or with entries, would be copied whole.
            rest = context.channel.allocator.buffer(buffer: rest)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        owner?.connectionReadComplete(self)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(Ending(cause: errorText(of: error)))
    }

    /// A dialled socket is active before it says so, an accepted one after: whichever comes first.
    private func begin() {
        guard !hasBegun else { return }
        hasBegun = true
        timer = context?.eventLoop.assumeIsolated().scheduleTask(in: options.handshakeTimeout) { [self] in
            // A timer that is due together with what cancels it still fires.
            if peer == nil { end(.handshakeTimedOut) }
        }
        owner?.connectionBegan(self)
        if let authentication {
            if let opening = authentication.opening { write(opening) }
        } else {
            owner?.connectionMayGreet(self)
        }
    }

    private func scheduleWatch() {
        timer = context?.eventLoop.assumeIsolated().scheduleTask(in: options.watchInterval) { [self] in
            // A timer that is due together with what cancels it still fires.
            guard owner != nil, let channel = context?.channel else { return }
            channel.withAcknowledgementFigures { [self] figures in
                if watch.isOverdue(figures, now: .now()) { end(.unacknowledged) } else { scheduleWatch() }
            }
        }
    }

    private func authenticate(with frame: Frame) throws(WireError) {
        switch try authentication!.receive(frame) {
        case .send(let bytes, let next):
            decoder.mode = next
            write(bytes)
        case .done(let bytes):
            authentication = nil
            decoder.mode = handshakeMode
            if let bytes { write(bytes) }
            owner?.connectionMayGreet(self)
        case .refuse(let ending):
            end(ending)
        }
    }

    /// Where one side has a secret and the other has not, both begin as they must; that is worth words of its own.
    private func ending(after error: WireError) -> Ending {
        switch decoder.mode {
        case .hello where !hasSecret && error == .frameType(MessageType.authenticationChallenge.rawValue):
            .onlyPeerHasSecret
        case .authenticationChallenge
        where error == .frameType(MessageType.hello.rawValue) || error == .frameType(MessageType.joinRequest.rawValue):
            .onlyThisNodeHasSecret
        default:
            .violation(error)
        }
    }
}
