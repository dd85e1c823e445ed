import NIOCore
import NIOPosix
import Synchronization
import Testing
import VikWire

/// A bare socket that says what the test says, dialled or accepted.
final class RawPeer: Sendable {
    private let socket: any NIOCore.Channel
    private let collector: Collector

    private struct State {
        var received = ByteBuffer()
        /// What ``next(_:)`` has not taken yet.
        var unread = ByteBuffer()
        var isClosed = false
    }

    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let state = Mutex(State())

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = unwrapInboundIn(data)
            state.withLock {
                $0.unread.writeImmutableBuffer(bytes)
                _ = $0.received.writeBuffer(&bytes)
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            context.close(promise: nil)
        }
    }

    private init(_ socket: any NIOCore.Channel, _ collector: Collector) {
        self.socket = socket
        self.collector = collector
        // Also of a socket that was never active.
        socket.closeFuture.whenComplete { _ in collector.state.withLock { $0.isClosed = true } }
    }

    static func dial(_ port: Int) async throws -> RawPeer {
        let collector = Collector()
        let socket = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { $0.pipeline.addHandler(collector) }
            .connect(host: "127.0.0.1", port: port).get()
        return RawPeer(socket, collector)
    }

    func send(_ bytes: ByteBuffer) async throws {
        try await socket.writeAndFlush(bytes)
    }

    /// Everything received so far.
    var received: ByteBuffer { collector.state.withLock { $0.received } }
    var isClosed: Bool { collector.state.withLock { $0.isClosed } }

    /// Waits for the next frame, which must be one that `mode` allows; nil: the connection ended before it.
    func next(_ mode: FrameDecoder.Mode) async throws -> Frame? {
        var frame: Frame?
        try await eventually("a frame or the end") {
            try collector.state.withLock { state in
                frame = try FrameDecoder(mode: mode).next(from: &state.unread)
                return frame != nil || state.isClosed
            }
        }
        return frame
    }

    func stopReading() async throws {
        try await socket.setOption(.autoRead, value: false).get()
    }

    /// While it is deaf its kernel drops whatever arrives for this socket, as a network does that loses all packets:
    /// nothing is acknowledged any more.
    func setDeaf(_ isDeaf: Bool) async throws {
        let filter = UnsafeMutablePointer<SocketFilter>.allocate(capacity: 1)
        defer { filter.deallocate() }
        filter.initialize(to: SocketFilter())
        // SO_ATTACH_FILTER and SO_DETACH_FILTER of Linux's <asm-generic/socket.h>.
        let option = NIOBSDSocket.Option(rawValue: isDeaf ? 26 : 27)
        let provider = socket as! any SocketOptionProvider
        try await provider.unsafeSetSocketOption(
            level: .socket, name: option, value: FilterProgram(instructions: filter)
        ).get()
    }

    /// `struct sock_filter`: "accept 0 bytes of the packet".
    private struct SocketFilter {
        var code: UInt16 = 0x06
        var ifTrue: UInt8 = 0
        var ifFalse: UInt8 = 0
        var operand: UInt32 = 0
    }

    /// `struct sock_fprog`. `@unchecked Sendable`: the kernel copies what it points to before the call is over.
    private struct FilterProgram: @unchecked Sendable {
        var count: UInt16 = 1
        var instructions: UnsafeMutablePointer<SocketFilter>
    }

    func close() async throws {
        if !isClosed { try? await socket.close() }
    }

    /// Listens, and hands each connection on as it is accepted.
    static func listen(
        _ accepted: @escaping @Sendable (RawPeer) -> Void
    ) async throws -> any NIOCore.Channel {
        try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { socket in
                let collector = Collector()
                return socket.pipeline.addHandler(collector).map { accepted(RawPeer(socket, collector)) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }
}

extension Hello {
    /// The Hello of member `number`, dialling member `peer`.
    static func from(_ number: UInt64, to peer: UInt64, _ channel: VikWire.Channel) -> Hello {
        Hello(
            channel: channel, incarnation: .zero, member: MemberID(rawValue: number), peer: MemberID(rawValue: peer),
            store: StoreID(high: number, low: number), state: .empty, label: "raw\(number)",
            address: "127.0.0.1:\(9_000 + number)", apiAddress: "127.0.0.1:\(8_000 + number)")
    }

    var dialled: ByteBuffer { .framing { FrameEncoder.write(hello: self, into: &$0) } }

    var answered: ByteBuffer { .framing { FrameEncoder.write(helloReply: self, into: &$0) } }
}

extension AuthenticationChallenge {
    var frame: ByteBuffer { .framing { FrameEncoder.write(self, into: &$0) } }
}

extension AuthenticationReply {
    var frame: ByteBuffer { .framing { FrameEncoder.write(self, into: &$0) } }
}

extension AuthenticationProof {
    var frame: ByteBuffer { .framing { FrameEncoder.write(self, into: &$0) } }
}

extension JoinRequest {
    var frame: ByteBuffer { .framing { FrameEncoder.write(self, into: &$0) } }
}

extension JoinReply {
    var frame: ByteBuffer { .framing { FrameEncoder.write(self, into: &$0) } }
}

extension ByteBuffer {
    fileprivate static func framing(_ write: (inout ByteBuffer) -> Void) -> ByteBuffer {
        var bytes = ByteBuffer()
        write(&bytes)
        return bytes
    }

    /// With one byte changed.
    func damaged(at offset: Int) -> ByteBuffer {
        var bytes = self
        bytes.setInteger(getInteger(at: offset, as: UInt8.self)! ^ 1, at: offset)
        return bytes
    }
}

extension Message {
    var frame: ByteBuffer { .framing { FrameEncoder.write(self, into: &$0) } }

    static func heartbeat(round: UInt64) -> Message {
        .heartbeat(Heartbeat(term: 1, commit: 0, round: round))
    }

    /// An append of `count` entries of `bytes` of values each.
    static func append(after previous: LogIndex, count: Int, bytes: Int) -> Message {
        var command = ByteBuffer()
        let values = stride(from: 0, to: max(1, bytes), by: WireLimits.maxValueBytes).map {
            [UInt8](repeating: 7, count: min(bytes - $0, WireLimits.maxValueBytes))
        }
        Command.writeHeader(operationCount: values.count, into: &command)
        for value in values { Command.writePut(key: [1], value: value, into: &command) }
        let payloads = [ByteBuffer](repeating: command, count: count)
        return .append(
            AppendRequest(
                term: 1, previousIndex: previous, previousTerm: previous == 0 ? 0 : 1, commit: 0,
                entries: Entry.batch(from: previous + 1, term: 1, kind: .command, payloads: payloads)))
    }
}
