import Logging
import NIOCore
import NIOPosix
import VikWire

/// A running node: stores, threads, loop, transport and gateway, put together.
///
/// Usable from any thread; ``start(_:logger:)`` and ``stop()`` block and are for a program's main thread.
package final class Node: KeyValueService {
    package let identity: NodeIdentity
    /// The API's bound port; nil without an API.
    package let apiPort: Int?
    let stores: StoreIdentity
    let inbox: LoopInbox
    private let board: StatusBoard
    let executor: ThreadExecutor
    let gateways: [GatewayServer]
    let nodeGroup: MultiThreadedEventLoopGroup
    let httpGroup: MultiThreadedEventLoopGroup
    let loop: NIOLoopBound<NodeLoop>
    let ended: EventLoopFuture<StorageError?>

    /// How long requests in flight may take once the node stops; past it they are cut off.
    static let stopLimit = TimeAmount.seconds(3)
    /// When the node answers what still waits: early enough for the answers to be out before connections are cut.
    static let waitLimit = TimeAmount.milliseconds(2_500)
    /// When a whole stop gives up whatever hangs.
    static let endLimit = TimeAmount.seconds(9)
    /// How long a stop waits for another node to lead, and how often it looks.
    static let handOverLimit = TimeAmount.seconds(1)
    static let handOverPollMicroseconds: UInt32 = 2_000
    /// Nobody is waited for who has not been heard from within this time.
    static let handOverContactMilliseconds: UInt64 = 1_000
    fileprivate static let stopping = "the node is stopping"
    /// A node alone has a label but no replication address.
    static let loneLabel = "single-node"
    static let loneAddress = ""

    init(
        identity: NodeIdentity, stores: StoreIdentity, inbox: LoopInbox, board: StatusBoard, executor: ThreadExecutor,
        gateways: [GatewayServer], apiPort: Int?, nodeGroup: MultiThreadedEventLoopGroup,
        httpGroup: MultiThreadedEventLoopGroup,
        loop: NIOLoopBound<NodeLoop>, ended: EventLoopFuture<StorageError?>
    ) {
        self.identity = identity
        self.apiPort = apiPort
        self.stores = stores
        self.inbox = inbox
        self.board = board
        self.executor = executor
        self.gateways = gateways
        self.nodeGroup = nodeGroup
        self.httpGroup = httpGroup
        self.loop = loop
        self.ended = ended
    }

    // MARK: KeyValueService

    package func write(_ command: ByteBuffer, token: UInt64, replyTo sink: any ReplySink) {
        let offer = inbox.offer(
            .write(command: command, token: token, sink: sink), bytes: command.readableBytes)
        if let refusal = offer.refusal { sink.deliver([Reply(token: token, outcome: .notApplied(refusal))]) }
    }

    package func read(_ query: Query, _ consistency: ReadConsistency, token: UInt64, replyTo sink: any ReplySink) {
        let offer = inbox.offer(.read(query, consistency, token: token, sink: sink), bytes: 0)
        if let refusal = offer.refusal { sink.deliver([Reply(token: token, outcome: .notAnswered(refusal))]) }
    }

    package func administer(_ request: AdminRequest, token: UInt64, replyTo sink: any ReplySink) {
        let reason: String
        switch inbox.offer(.administer(request, token: token, sink: sink), bytes: 0) {
        case .taken: return
        case .closed: reason = Self.stopping
        case .full: reason = "it has as many requests waiting as it may"
        }
        sink.deliver([Reply(token: token, outcome: .notAdministered(.notReady(reason)))])
    }

    package var status: NodeStatus { board.status }
    package var metrics: NodeMetrics { board.metrics }
    package var counters: NodeCounters { board.counters }
    /// Bytes sent on replication connections since the start.
    package var wireBytes: UInt64 { counters.wireBytes }

    /// Calls `callback` once, when the node has closed (nil) or cannot go on.
    package func onEnd(_ callback: @escaping @Sendable (StorageError?) -> Void) {
        ended.whenSuccess(callback)
    }
}

extension LoopInbox.Offer {
    fileprivate var refusal: Refusal? {
        switch self {
        case .taken: nil
        case .closed: .notReady(Node.stopping)
        case .full: .overloaded
        }
    }
}
