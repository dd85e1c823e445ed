import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing
import VikDB
import VikTestSupport
import VikWire

/// A ``PeerTransport`` on a loop of its own over real sockets, and what its delegate was told.
final class TransportNode: Sendable {
    let member: MemberID
    let store: StoreID
    let label: String
    /// What a node that joins is told.
    let joinReply = Mutex<JoinReply?>(.unknown)
    /// After this time; nil: at once.
    let joinDelay = Mutex<TimeAmount?>(nil)
    /// The stores that the delegate refuses, and that it holds to be on record.
    let stores = Mutex<(refused: StoreID?, onRecord: StoreID?)>((nil, nil))
    let seen = Mutex(Seen())
    let log: LogRecorder
    let loop: any EventLoop
    private let parts: NIOLoopBoundBox<(transport: PeerTransport, delegate: Delegate)?>
    private let bound = Mutex((host: "127.0.0.1", port: 0))

    /// What the delegate was told so far.
    struct Seen: Sendable {
        struct Link: Hashable, Sendable {
            let member: MemberID
            let channel: VikWire.Channel
        }

        var messages: [(message: Message, from: MemberID)] = []
        var batches = 0
        /// Messages that no ``TransportDelegate/transportReadComplete()`` followed yet.
        var unfinished = 0
        var connected: [Link] = []
        var disconnected: [Link] = []
        var accepted: [Hello] = []
        var greeted: [Hello] = []
        /// Peers that said that this node is no member.
        var unknownTo: [Hello] = []
        var joinRequests: [JoinRequest] = []
        /// Peers that said that another store is on record for this node.
        var refusedBy: [Hello] = []
        /// What was noted before each Hello that was answered.
        var acknowledged: [AcknowledgedLog?] = []

        /// Links that are up now.
        var up: Set<Link> {
            var count: [Link: Int] = [:]
            for link in connected { count[link, default: 0] += 1 }
            for link in disconnected { count[link, default: 0] -= 1 }
            return Set(count.filter { $0.value > 0 }.keys)
        }
    }

    private final class Delegate: TransportDelegate {
        unowned let node: TransportNode
        private let local: LocalHello

        init(node: TransportNode, localHello: LocalHello) {
            self.node = node
            self.local = localHello
        }

        func localHello(to member: MemberID) -> LocalHello { local }

        func transportReceived(_ message: Message, from peer: Hello) {
            node.seen.withLock {
                $0.messages.append((message, peer.member))
                $0.unfinished += 1
            }
        }

        func transportReadComplete() {
            node.seen.withLock {
                $0.batches += 1
                $0.unfinished = 0
            }
        }

        func transportConnected(_ peer: Hello, _ channel: VikWire.Channel, acknowledged: AcknowledgedLog?) {
            node.seen.withLock {
                $0.acknowledged.append(acknowledged)
                $0.connected.append(Seen.Link(member: peer.member, channel: channel))
                $0.greeted.append(peer)
            }
        }

        func transportDisconnected(_ member: MemberID, _ channel: VikWire.Channel) {
            node.seen.withLock { $0.disconnected.append(Seen.Link(member: member, channel: channel)) }
        }

        func transportAccepted(_ peer: Hello) {
            node.seen.withLock { $0.accepted.append(peer) }
        }

        func transportAcquainted(_ stranger: Hello) -> Bool { false }

        func transportIsUnknown(to peer: Hello) {
            node.seen.withLock { $0.unknownTo.append(peer) }
        }

        func transportIsRefused(by peer: Hello) {
            node.seen.withLock { $0.refusedBy.append(peer) }
        }

        func storeRefusal(of peer: Hello) -> String? {
            node.stores.withLock { $0.refused == peer.store ? "shows a store that the test refuses" : nil }
        }

        func isOnRecord(_ peer: Hello) -> Bool {
            node.stores.withLock { $0.onRecord == peer.store }
        }

        func acknowledgedLog(of member: MemberID) -> AcknowledgedLog? {
            AcknowledgedLog(term: 1, store: node.store, index: member.rawValue)
        }

        func joinReply(to request: JoinRequest, _ answer: @escaping (JoinReply?) -> Void) {
            node.seen.withLock { $0.joinRequests.append(request) }
            guard let delay = node.joinDelay.withLock({ $0 }) else { return answer(node.joinReply.withLock { $0 }) }
            node.loop.assumeIsolated().scheduleTask(in: delay) { [node] in answer(node.joinReply.withLock { $0 }) }
        }
    }

    init(_ number: UInt64, label: String? = nil, logLevel: Logger.Level = .warning) {
        log = LogRecorder(level: logLevel)
        self.label = label ?? "node\(number)"
        member = MemberID(rawValue: number)
        store = StoreID(high: number, low: number)
        loop = MultiThreadedEventLoopGroup.singleton.next()
        parts = NIOLoopBoundBox.makeEmptyBox(eventLoop: loop)
    }

    var port: Int { bound.withLock { $0.port } }
    var address: HostPort { get throws { try bound.withLock { try HostPort(host: $0.host, port: $0.port) } } }

    /// Starts without peers: whose ports are known only once they listen.
    func start(
        host: String = "127.0.0.1", port: Int = Ports.take(), incarnation: Incarnation = .zero,
        state: StoreState = .empty, logEnd: LogEnd? = nil,
        configure: @escaping @Sendable (inout TransportOptions) -> Void = { _ in }
    ) async throws {
        let boundPort = try await loop.flatSubmit { [self] in
            var options = TransportOptions(seed: member.rawValue)
            options.minRetryDelay = .milliseconds(5)
            options.maxRetryDelay = .milliseconds(50)
            // Tests that want to see it pass shorten it; others may be held up by those that run beside them.
            options.handshakeTimeout = .seconds(60)
            configure(&options)
            let delegate = Delegate(
                node: self, localHello: LocalHello(incarnation: incarnation, state: state, logEnd: logEnd))
            do {
                let identity = TransportIdentity(
                    member: member, store: store, label: label,
                    address: try HostPort(host: "127.0.0.1", port: 9_000 + Int(member.rawValue)),
                    apiAddress: try HostPort(host: "127.0.0.1", port: 8_000 + Int(member.rawValue)))
                let transport = PeerTransport(
                    eventLoop: loop, identity: identity,
                    listenOn: try HostPort(host: host, port: port), peers: [],
                    delegate: delegate, logger: log.logger, options: options)
                parts.value = (transport, delegate)
                return transport.start()
            } catch {
                return loop.makeFailedFuture(error)
            }
        }.get()
        bound.withLock { $0 = (host, boundPort) }
    }

    func setPeers(_ peers: [(member: MemberID, address: HostPort)]) async throws {
        try await onLoop { $0.setPeers(peers) }
    }

    func setPeers(_ nodes: [TransportNode]) async throws {
        try await setPeers(nodes.map { ($0.member, try $0.address) })
    }

    func send(_ messages: [Message], to member: MemberID) async throws {
        try await onLoop { transport in
            for message in messages { transport.send(message, to: member) }
            transport.flush()
        }
    }

    func openSnapshotConnection(to member: MemberID) async throws {
        try await onLoop { $0.openSnapshotConnection(to: member) }
    }

    func refuse(_ member: MemberID) async throws {
        try await onLoop { $0.refuse(member, reason: "a test") }
    }

    /// As if an accept had failed so.
    ///
    /// - Returns: whether it goes on accepting at once.
    func failAccept(_ code: CInt) async throws -> Bool {
        try await loop.flatSubmit { [self] in
            let socket = parts.value!.transport.serverSocket!
            socket.pipeline.fireErrorCaught(IOError(errnoCode: code, reason: "accept"))
            return socket.getOption(.autoRead)
        }.get()
    }

    var isAccepting: Bool {
        get async throws {
            try await loop.flatSubmit { [self] in
                parts.value!.transport.serverSocket!.getOption(.autoRead)
            }.get()
        }
    }

    /// Waits until it accepts again, which it does by itself.
    func startsAccepting() async throws {
        while try await !isAccepting { try await Task.sleep(for: .milliseconds(5)) }
    }

    func closeSnapshotConnection(to member: MemberID) async throws {
        try await onLoop { $0.closeSnapshotConnection(to: member) }
    }

    func stop() async throws {
        try await loop.flatSubmit { [self] in
            guard let transport = parts.value?.transport else { return loop.makeSucceededVoidFuture() }
            return transport.close()
        }.get()
        try await loop.submit { [self] in parts.value = nil }.get()
    }

    /// Closes the transport in one go with every timer that is due within `stall`.
    func closeTogetherWithTimers(stall: TimeAmount) async throws {
        try await loop.submit { [self] in
            loop.assumeIsolated().scheduleTask(in: .nanoseconds(1)) { [self] in
                _ = parts.value?.transport.close()
                parts.value = nil
            }
            let end = NIODeadline.now() + stall
            while NIODeadline.now() < end {}
        }.get()
    }

    /// Closes the transport, and then uses it as `body` says.
    func closing(_ body: @escaping @Sendable (PeerTransport) -> Void) async throws {
        try await onLoop { transport in
            _ = transport.close()
            body(transport)
        }
    }

    private func onLoop(_ body: @escaping @Sendable (PeerTransport) -> Void) async throws {
        try await loop.submit { [self] in body(parts.value!.transport) }.get()
    }

    /// Runs `body` with nodes that all know each other and are connected, and stops them afterwards.
    static func cluster(_ count: Int, _ body: ([TransportNode]) async throws -> Void) async throws {
        let nodes = (1...UInt64(count)).map { TransportNode($0) }
        try await running(nodes) {
            for node in nodes { try await node.start() }
            for node in nodes { try await node.setPeers(nodes.filter { $0 !== node }) }
            for node in nodes {
                try await eventually("all links of \(node.member)") {
                    node.seen.withLock { $0.up.count == 2 * (count - 1) && $0.accepted.count == 2 * (count - 1) }
                }
            }
            try await body(nodes)
        }
    }

    /// Runs `body` and stops the nodes afterwards, come what may.
    static func running(_ nodes: [TransportNode], _ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch {
            for node in nodes { try await node.stop() }
            throw error
        }
        for node in nodes { try await node.stop() }
    }
}

/// Waits for `condition`, for a minute at most: tests that run beside this one may keep both sides of it waiting.
func eventually(
    _ what: String, at location: SourceLocation = #_sourceLocation, _ condition: () throws -> Bool
) async throws {
    let deadline = NIODeadline.now() + .seconds(60)
    while try !condition() {
        guard NIODeadline.now() < deadline else {
            Issue.record("not within 60 s: \(what)", sourceLocation: location)
            throw CancellationError()
        }
        try await Task.sleep(for: .milliseconds(2))
    }
}

/// Keeps log lines of level warning, or another, and above.
final class LogRecorder: Sendable {
    private let kept = Mutex<[String]>([])
    private let level: Logger.Level

    init(level: Logger.Level = .warning) {
        self.level = level
    }

    var warnings: [String] { kept.withLock { $0 } }

    var logger: Logger {
        Logger(label: "transport") { _ in Handler(recorder: self, logLevel: level) }
    }

    private struct Handler: LogHandler {
        let recorder: LogRecorder
        var metadataProvider: Logger.MetadataProvider?
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            recorder.kept.withLock { $0.append("\(event.message)") }
        }
    }
}
