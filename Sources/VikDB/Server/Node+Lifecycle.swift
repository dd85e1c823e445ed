import Logging
import NIOCore
import NIOPosix
import VikWire

/// Putting a node together, and taking it apart.
extension Node {
    /// Opens the stores, recovers, and starts all threads; the node is then on its way to a leader.
    ///
    /// Blocks until the stores are recovered and the addresses are bound. On an error nothing is left behind but the
    /// directories that were created.
    package static func start(_ settings: NodeSettings, logger: Logger) throws(StartError) -> Node {
        var random = SplitMix64(seed: settings.seed ?? .random(in: .min ... .max))
        let (stores, recovered) = try openStores(settings, using: &random)

        // Clients reach the API only once the node is complete, but its port must be known before: it is announced.
        let httpGroup = MultiThreadedEventLoopGroup(numberOfThreads: settings.httpThreads)
        let nodeGroup = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let executor = ThreadExecutor(readThreads: settings.readThreads)
        func shutDownThreads() {
            executor.shutdown()
            try? httpGroup.syncShutdownGracefully()
            try? nodeGroup.syncShutdownGracefully()
        }
        do throws(StartError) {
            let gateway = try bindGateway(settings, group: httpGroup, logger: logger)
            let identity = identity(settings, stores: stores, apiPort: gateway?.port)
            try StoredIdentity.check(
                identity, cluster: settings.cluster, against: recovered.state.configurations.last?.configuration,
                logger: logger)

            let eventLoop = nodeGroup.next()
            let inbox = LoopInbox(eventLoop: eventLoop)
            let board = StatusBoard(
                NodeStatus(isReplicated: identity.isReplicated, nodeID: identity.label))
            let seed = random.next()
            let ended = eventLoop.makePromise(of: StorageError?.self)
            let loop = try wait(on: eventLoop, settings) {
                try startLoop(
                    settings, identity: identity, recovered: recovered, executor: executor, inbox: inbox,
                    board: board, eventLoop: eventLoop, ended: ended, logger: logger, seed: seed)
            }
            let node = Node(
                identity: identity, stores: stores, inbox: inbox, board: board, executor: executor,
                gateway: gateway, nodeGroup: nodeGroup, httpGroup: httpGroup, loop: loop,
                ended: ended.futureResult)
            gateway?.serve(node, announcedAs: identity.apiAddress)
            return node
        } catch {
            shutDownThreads()
            throw error
        }
    }

    /// Stops accepting, finishes what is in flight within seconds, closes the log with its end mark, and ends all
    /// threads. Once.
    package func stop() {
        let loop = self.loop
        let eventLoop = nodeGroup.next()
        let lastAnswers = eventLoop.scheduleTask(in: Self.waitLimit) { loop.value.stopWaiting() }
        if let gateway {
            // The gateway's own drain needs the node, which goes on until all its requests are answered.
            try? httpGroup.next().makeFutureWithTask { await gateway.stop(within: Self.stopLimit) }.wait()
        }
        inbox.post(.stop)
        let giveUp = eventLoop.scheduleTask(in: Self.stopLimit) { loop.value.giveUp() }
        _ = try? ended.wait()
        lastAnswers.cancel()
        giveUp.cancel()
        try? eventLoop.flatSubmit { loop.value.close() }.wait()
        inbox.close()
        executor.shutdown()
        try? httpGroup.syncShutdownGracefully()
        try? nodeGroup.syncShutdownGracefully()
    }

    // MARK: Parts of the start

    private static func openStores(
        _ settings: NodeSettings, using random: inout SplitMix64
    ) throws(StartError) -> (StoreIdentity, RecoveredNode) {
        let fileSystem = PosixFileSystem()
        do throws(StorageError) {
            // A store id must differ even between nodes that were given the same seed.
            var system = SystemRandomNumberGenerator()
            let stores = try StoreIdentity.open(
                walDirectory: settings.logDirectory, tableDirectory: settings.tableDirectory,
                fileSystem: fileSystem, using: &system)
            let recovered = try RecoveredNode.open(
                logDirectory: settings.logDirectory, tableDirectory: settings.tableDirectory,
                fileSystem: fileSystem, logOptions: settings.log, engineOptions: settings.engine)
            return (stores, recovered)
        } catch {
            throw .storage(error)
        }
    }

    private static func bindGateway(
        _ settings: NodeSettings, group: MultiThreadedEventLoopGroup, logger: Logger
    ) throws(StartError) -> GatewayServer? {
        guard let listen = settings.apiListen else { return nil }
        do {
            let options = settings.gateway
            let host = listen.host.isEmpty ? nil : listen.host
            return try group.next().makeFutureWithTask {
                try await GatewayServer.bind(
                    host: host, port: listen.port, options: options, group: group, logger: logger)
            }.wait()
        } catch {
            throw .listen(address: "\(listen)", flag: "-addr", reason: errorText(of: error))
        }
    }

    private static func identity(_ settings: NodeSettings, stores: StoreIdentity, apiPort: Int?) -> NodeIdentity {
        NodeIdentity(
            store: stores.id, label: settings.replication?.label ?? loneLabel,
            address: settings.replication?.ownAddress.description ?? loneAddress,
            apiAddress: settings.announcedAPIAddress(boundPort: apiPort), isReplicated: settings.replication != nil,
            cluster: settings.cluster, bootstrapWithout: settings.replication?.bootstrapWithout.map(\.description) ?? [])
    }

    private static func wait(
        on eventLoop: any EventLoop, _ settings: NodeSettings,
        for body: @escaping @Sendable () throws -> EventLoopFuture<NIOLoopBound<NodeLoop>>
    ) throws(StartError) -> NIOLoopBound<NodeLoop> {
        do {
            return try eventLoop.flatSubmit {
                do { return try body() } catch { return eventLoop.makeFailedFuture(error) }
            }.wait()
        } catch {
            throw .listen(
                address: settings.replication?.ownAddress.description ?? "", flag: "-cluster", reason: errorText(of: error))
        }
    }

    /// On the loop.
    private static func startLoop(
        _ settings: NodeSettings, identity: NodeIdentity, recovered: RecoveredNode, executor: ThreadExecutor,
        inbox: LoopInbox, board: StatusBoard, eventLoop: any EventLoop, ended: EventLoopPromise<StorageError?>,
        logger: Logger, seed: UInt64
    ) throws -> EventLoopFuture<NIOLoopBound<NodeLoop>> {
        let sender = TransportSender()
        let shell = NodeShell(
            identity: identity, options: settings.node, recovered: recovered, executor: executor, inbox: inbox,
            peers: sender, board: board, logger: logger, seed: seed)
        let loop = NodeLoop(eventLoop: eventLoop, inbox: inbox, shell: shell, sender: sender, board: board, ended: ended)
        inbox.connect(to: loop)
        let bound = NIOLoopBound(loop, eventLoop: eventLoop)
        let tick = TimeAmount.milliseconds(Int64(settings.node.tickMilliseconds))
        guard let replication = settings.replication else {
            loop.start(tick: tick)
            return eventLoop.makeSucceededFuture(bound)
        }
        let transport = PeerTransport(
            eventLoop: eventLoop,
            identity: TransportIdentity(
                member: identity.member, store: identity.store, label: identity.label,
                address: replication.ownAddress, apiAddress: try HostPort.parse(identity.apiAddress)),
            listenOn: replication.ownAddress,
            peers: replication.cluster.filter { $0 != replication.ownAddress }.map {
                (member: MemberID.founder(address: $0.description), address: $0)
            },
            delegate: loop, logger: logger, options: TransportOptions(seed: seed))
        sender.transport = transport
        return transport.start().assumeIsolated().map { _ in
            loop.start(tick: tick)
            return bound
        }.nonisolated()
    }
}

extension NodeSettings {
    /// The entries of `-cluster`, or the one name of a node alone.
    var cluster: [String] {
        replication?.cluster.map(\.description) ?? [Node.loneAddress]
    }

    /// The address that clients are sent to (design rule 13): `-advertise-addr`, else `-addr` with the host of the own
    /// `-cluster` entry where it names all interfaces.
    func announcedAPIAddress(boundPort: Int?) -> String {
        if let apiAdvertised { return apiAdvertised.description }
        let own = replication?.ownAddress.host ?? "localhost"
        guard let listen = apiListen, let boundPort else {
            return replication?.ownAddress.description ?? "localhost:1"
        }
        let isWildcard = listen.host.isEmpty || listen.host == "0.0.0.0" || listen.host == "::"
        let host = isWildcard ? own : listen.host
        return host.contains(":") ? "[\(host)]:\(boundPort)" : "\(host):\(boundPort)"
    }
}
