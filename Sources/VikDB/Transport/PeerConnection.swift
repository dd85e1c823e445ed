import NIOCore
import VikWire

/// What happens on a ``PeerConnection``.
protocol PeerConnectionOwner: AnyObject {
    func connectionBegan(_ connection: PeerConnection)
    /// A frame of a type that the connection's mode allows. An error ends the connection.
    func connection(_ connection: PeerConnection, received frame: Frame) throws(WireError)
    func connectionReadComplete(_ connection: PeerConnection)
    /// Called once, before the socket is closed; no call follows it.
    func connectionEnded(_ connection: PeerConnection, _ ending: PeerConnection.Ending)
}

/// One TCP connection of replication, dialled or accepted: cuts what arrives into frames and ends at the first byte
/// that breaks the protocol, which costs no other connection anything.
///
/// Bound to the node's loop, as the one handler of its channel.
final class PeerConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Why a connection ended.
    struct Ending: Equatable {
        /// The same words for the same cause, so that a repetition can be told.
        var cause: String
        /// What differs from one time to the next.
        var detail = ""

        static let closedByPeer = Ending(cause: "closed by the peer")
        static let handshakeTimedOut = Ending(cause: "the handshake took too long")
        static let queueFull = Ending(cause: "the peer reads too slowly, its send queue is full")
        static let replaced = Ending(cause: "replaced by a newer connection")
        static let notPeer = Ending(cause: "no longer a peer")
        static let stopped = Ending(cause: "stopped")
        static let tooManyStrangers = Ending(cause: "too many connections have not said hello")

        static func violation(_ error: WireError) -> Ending {
            Ending(cause: violationCause, detail: error.description)
        }

        var isViolation: Bool { cause == Self.violationCause }

        private static let violationCause = "broke the protocol"
    }

    /// The other side, once the handshake is done.
    private(set) var peer: Hello?
    private var owner: (any PeerConnectionOwner)?
    private var context: ChannelHandlerContext?
    private var decoder: FrameDecoder
    /// What has arrived and is not yet a whole frame: at most one frame, whose length has passed its limit, and a read.
    private var rest = ByteBuffer()
    private let handshakeTimeout: TimeAmount
    private var timer: Scheduled<Void>?
    private var hasBegun = false

    init(expecting mode: FrameDecoder.Mode, handshakeTimeout: TimeAmount, owner: any PeerConnectionOwner) {
        decoder = FrameDecoder(mode: mode)
        self.handshakeTimeout = handshakeTimeout
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
        timer = nil
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
        context?.close(promise: nil)
    }

    // MARK: ChannelInboundHandler

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end(.closedByPeer)
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        begin()
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(.closedByPeer)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let owner else { return }
        var incoming = unwrapInboundIn(data)
        let startsAfresh = rest.readableBytes == 0
        if startsAfresh { rest = incoming } else { rest.writeBuffer(&incoming) }
        do throws(WireError) {
            while let frame = try decoder.next(from: &rest) {
                try owner.connection(self, received: frame)
                guard self.owner != nil else { return }
            }
        } catch {
            return end(.violation(error))
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
        timer = context?.eventLoop.assumeIsolated().scheduleTask(in: handshakeTimeout) { [self] in
            // A timer that is due together with what cancels it still fires.
            if peer == nil { end(.handshakeTimedOut) }
        }
        owner?.connectionBegan(self)
    }
}

extension PeerConnection.Ending: CustomStringConvertible {
    var description: String {
        detail.isEmpty ? cause : "\(cause): \(detail)"
    }
}
