import NIOCore
import NIOPosix
import VikTestSupport

/// Stands between a node's replication port and those that dial it, notes what goes by on connections for snapshots, and
/// cuts these where it is told to. Has a thread of its own, which ends with the last reference; usable from any.
final class CuttingProxy: Sendable {
    /// What went by on connections for snapshots. A plain value.
    struct Traffic: Sendable {
        /// The transfers offered, each once in a row.
        var transfers: [UInt64] = []
        /// The first and the last chunk that came on each connection that had any.
        var runs: [ClosedRange<UInt64>] = []
        var cuts = 0
    }

    fileprivate struct State: Sendable {
        var traffic = Traffic()
        /// After how many bytes the next connections are cut; those after them are left alone.
        var budgets: [Int]
    }

    let port = Ports.take()
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let state: Shared<State>

    /// - Parameter target: the replication port of a node on this machine.
    init(to target: Int, cuttingAfter budgets: [Int]) throws {
        state = Shared(State(budgets: budgets))
        _ = try ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { [state] socket in
                socket.eventLoop.makeCompletedFuture {
                    try socket.pipeline.syncOperations.addHandler(DialledRelay(to: target, state))
                }
            }
            .bind(host: "127.0.0.1", port: port).wait()
    }

    deinit {
        try? group.syncShutdownGracefully()
    }

    var traffic: Traffic { state.value.traffic }
}

/// One end of a connection through the proxy: writes to the other end what it reads. Bound to the proxy's loop.
private class Relay: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private(set) var context: ChannelHandlerContext?
    var partner: Relay?

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        partner = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        partner?.write(unwrapInboundIn(data))
    }

    /// Whoever reads too slowly is not read for.
    func channelWritabilityChanged(context: ChannelHandlerContext) {
        partner?.read(context.channel.isWritable)
    }

    func channelInactive(context: ChannelHandlerContext) {
        partner?.close()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        close()
    }

    func write(_ bytes: ByteBuffer) {
        context?.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
    }

    func read(_ isWanted: Bool) {
        try? context?.channel.syncOptions?.setOption(.autoRead, value: isWanted)
    }

    func close() {
        context?.close(promise: nil)
    }
}

/// The end that a node has dialled: dials on, and cuts.
private final class DialledRelay: Relay {
    private let target: Int
    private let state: Shared<CuttingProxy.State>
    private var frames = FrameWatch()
    /// Bytes that may still pass, once the connection is known to be for a snapshot; nil: any.
    private var budget: Int?
    private var firstChunk: UInt64?

    init(to target: Int, _ state: Shared<CuttingProxy.State>) {
        self.target = target
        self.state = state
    }

    override func handlerAdded(context: ChannelHandlerContext) {
        super.handlerAdded(context: context)
        ClientBootstrap(group: context.eventLoop)
            .connect(host: "127.0.0.1", port: target)
            .assumeIsolated()
            .whenComplete { self.dialled($0) }
    }

    private func dialled(_ result: Result<any Channel, any Error>) {
        guard let socket = try? result.get() else { return close() }
        let other = Relay()
        guard context != nil, (try? socket.pipeline.syncOperations.addHandler(other)) != nil else {
            return socket.close(promise: nil)
        }
        (partner, other.partner) = (other, self)
        read(true)
    }

    override func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        frames.read(bytes) { note($0) }
        if let budget, bytes.readableBytes >= budget {
            partner?.write(bytes.readSlice(length: budget)!)
            state.change { $0.traffic.cuts += 1 }
            partner?.close()
            return close()
        }
        budget = budget.map { $0 - bytes.readableBytes }
        partner?.write(bytes)
    }

    private func note(_ frame: FrameWatch.Frame) {
        switch frame {
        case .helloForSnapshot:
            state.change { if !$0.budgets.isEmpty { budget = $0.budgets.removeFirst() } }
        case .offer(let transfer):
            state.change { if $0.traffic.transfers.last != transfer { $0.traffic.transfers.append(transfer) } }
        case .chunk(let sequence):
            state.change {
                if let firstChunk {
                    $0.traffic.runs[$0.traffic.runs.count - 1] = firstChunk...sequence
                } else {
                    $0.traffic.runs.append(sequence...sequence)
                }
            }
            firstChunk = firstChunk ?? sequence
        }
    }
}

/// Finds the frames of proto-spec.md in what a dialler sends. A plain value.
private struct FrameWatch {
    enum Frame {
        case helloForSnapshot
        case offer(transfer: UInt64)
        case chunk(sequence: UInt64)
    }

    private static let headerBytes = 12
    /// Header and what is looked at of a body; no frame of a dialler on a connection for snapshots is shorter.
    private static let headBytes = headerBytes + 24
    private var head = ByteBuffer()
    /// Bytes of the present frame that are still to come.
    private var rest = 0

    /// - Parameter found: told of each frame that has begun with `bytes`.
    mutating func read(_ bytes: ByteBuffer, _ found: (Frame) -> Void) {
        var bytes = bytes
        while bytes.readableBytes > 0 {
            let skipped = min(rest, bytes.readableBytes)
            bytes.moveReaderIndex(forwardBy: skipped)
            rest -= skipped
            guard var part = bytes.readSlice(length: min(Self.headBytes - head.readableBytes, bytes.readableBytes))
            else { return }
            head.writeBuffer(&part)
            guard head.readableBytes == Self.headBytes else { return }
            rest = Self.headerBytes + Int(head.getInteger(at: 0, as: UInt32.self)!) - Self.headBytes
            let body = Self.headerBytes
            switch head.getInteger(at: 4, as: UInt8.self) {
            case 1 where head.getInteger(at: body + 20, as: UInt8.self) == 2: found(.helloForSnapshot)
            case 32: found(.offer(transfer: head.getInteger(at: body + 8)!))
            case 33: found(.chunk(sequence: head.getInteger(at: body + 16)!))
            default: break
            }
            head.clear()
        }
    }
}
