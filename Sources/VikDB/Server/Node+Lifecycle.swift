import Glibc
import Logging
import NIOCore
import NIOPosix
import VikWire

/// Putting a node together, and taking it apart.
extension Node {
    /// Opens the stores, recovers, and starts all threads; the node is then on its way to a leader. Not for a node that
    /// joins a cluster.
    ///
    /// Blocks until the stores are recovered and the addresses are bound. On an error nothing is left behind but the
    /// directories that were created.
    package static func start(_ settings: NodeSettings, logger: Logger) throws(StartError) -> Node {
        try start(settings, stores: try OpenedStores.open(settings, logger: logger), joined: nil, logger: logger)
    }

    /// - Parameter joined: what the cluster answered, if ``OpenedStores/joinRequest(_:)`` asked for that.
    package static func start(
        _ settings: NodeSettings, stores: OpenedStores, joined: JoinedMember?, logger: Logger
    ) throws(StartError) -> Node {
        let own = try OwnMember.find(
            settings, store: stores.identity.id, stored: stores.configuration, joined: joined, logger: logger)
        var random = SplitMix64(seed: settings.seed ?? .random(in: .min ... .max))

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
            var apiOptions = settings.gateway
            apiOptions.answerTimeout = settings.answerTimeout
            apiOptions.adminAccess = settings.adminListen == nil ? .loopback : .nobody
            let budget = ConnectionBudget(maxConnections: settings.gateway.maxConnections)
            let gateway = try bindGateway(
                settings.apiListen, "-addr", options: apiOptions, budget: budget, group: httpGroup, logger: logger)
            var adminOptions = apiOptions
            adminOptions.adminAccess = .everyone
            let adminGateway = try bindGateway(
                settings.adminListen, "-admin-addr", options: adminOptions, budget: budget, group: httpGroup,
                logger: logger)
            let identity = identity(settings, own, store: stores.identity.id, apiPort: gateway?.port)
            let eventLoop = nodeGroup.next()
            let inbox = LoopInbox(eventLoop: eventLoop)
            let board = StatusBoard(
                NodeStatus(isReplicated: identity.isReplicated, nodeID: identity.label))
            let seed = random.next()
            let ended = eventLoop.makePromise(of: StorageError?.self)
            let recovered = stores.recovered
            let loop = try wait(on: eventLoop, own) {
                try startLoop(
                    settings, own, identity: identity, recovered: recovered, executor: executor, inbox: inbox,
                    board: board, eventLoop: eventLoop, ended: ended, logger: logger, seed: seed)
            }
            let node = Node(
                identity: identity, stores: stores.identity, inbox: inbox, board: board, executor: executor,
                gateways: [gateway, adminGateway].compactMap(\.self), apiPort: gateway?.port, nodeGroup: nodeGroup,
                httpGroup: httpGroup, loop: loop,
                ended: ended.futureResult)
            gateway?.serve(node, announcedAs: identity.apiAddress)
            adminGateway?.serve(node, announcedAs: identity.apiAddress)
            if let replication = settings.replication, replication.secret == nil {
                logger.warning(
                    """
                    no -cluster-secret-file: whoever reaches the replication port is trusted; let only the cluster's \
                    nodes reach it
                    """, metadata: ["replication": "\(identity.address)"])
            }
            return node
        } catch {
            shutDownThreads()
            throw error
        }
    }

    /// Hands the office over if this node leads, stops accepting, finishes what is in flight within seconds, closes the
    /// log with its end mark, and ends all threads. Once.
    ///
    /// - Returns: what hangs and was not waited for any longer; the process can only end with it.
    @discardableResult
    package func stop() -> [String] {
        var stop = NodeStop(limit: Self.endLimit)
        handOver()
        let loop = self.loop
        let eventLoop = nodeGroup.next()
        let lastAnswers = eventLoop.scheduleTask(in: Self.waitLimit) { loop.value.stopWaiting() }
        // The gateways' own drain needs the node, which goes on until all its requests are answered.
        let drains = gateways.map { gateway in
            httpGroup.next().makeFutureWithTask { await gateway.stop(within: Self.stopLimit) }
        }
        for drain in drains {
            stop.wait(for: drain, "the connections of clients", atMost: Self.stopLimit + NodeStop.leastWait)
        }
        inbox.post(.stop)
        let giveUp = eventLoop.scheduleTask(in: Self.stopLimit) { loop.value.giveUp() }
        let isLoopAlive = stop.wait(for: ended, "the node's loop", atMost: Self.stopLimit + NodeStop.leastWait)
        lastAnswers.cancel()
        giveUp.cancel()
        if isLoopAlive { stop.wait(for: eventLoop.flatSubmit { loop.value.close() }, "the connections of peers") }
        inbox.close()
        stop.wait(for: executor)
        stop.wait(for: httpGroup, "the threads of the API")
        if isLoopAlive { stop.wait(for: nodeGroup, "the thread of the node's loop") }
        return stop.unfinished
    }

    /// Clients are still served, and sent to the new leader as soon as there is one, so that they notice nothing.
    private func handOver() {
        let status = status.told
        let mayFollow = status.members.contains { member in
            member.role == .voter && !member.isLeader
                && member.lastContactMilliseconds.map { $0 < Self.handOverContactMilliseconds } ?? false
        }
        guard status.role == .leader, mayFollow else { return }
        inbox.post(.handOver)
        let deadline = NIODeadline.now() + Self.handOverLimit
        while NIODeadline.now() < deadline, self.status.role == .leader || self.status.leaderID == nil {
            usleep(Self.handOverPollMicroseconds)
        }
    }

    // MARK: Parts of the start

    private static func bindGateway(
        _ listen: HostPort?, _ flag: String, options: GatewayOptions, budget: ConnectionBudget,
        group: MultiThreadedEventLoopGroup, logger: Logger
    ) throws(StartError) -> GatewayServer? {
        guard let listen else { return nil }
        do {
            let host = listen.host.isEmpty ? nil : listen.host
            return try group.next().makeFutureWithTask {
                try await GatewayServer.bind(
                    host: host, port: listen.port, options: options, budget: budget, group: group, logger: logger)
            }.wait()
        } catch {
            throw .listen(address: "\(listen)", flag: flag, reason: errorText(of: error))
        }
    }

    private static func identity(
        _ settings: NodeSettings, _ own: OwnMember, store: StoreID, apiPort: Int?
    ) -> NodeIdentity {
        var bootstrapWithout: [HostPort] = []
        if case .founding(let founders) = settings.replication?.start { bootstrapWithout = founders.bootstrapWithout }
        return NodeIdentity(
            member: own.id, store: store, label: settings.replication?.label ?? loneLabel,
            address: own.address?.description ?? loneAddress,
            apiAddress: settings.announcedAPIAddress(own: own.address, boundPort: apiPort),
            isReplicated: own.address != nil,
            cluster: own.address == nil ? [loneAddress] : own.founders.map(\.description),
            bootstrapWithout: bootstrapWithout.map(\.description), joined: own.joined)
    }

    private static func wait(
        on eventLoop: any EventLoop, _ own: OwnMember,
        for body: @escaping @Sendable () throws -> EventLoopFuture<NIOLoopBound<NodeLoop>>
    ) throws(StartError) -> NIOLoopBound<NodeLoop> {
        do {
            return try eventLoop.flatSubmit {
                do { return try body() } catch { return eventLoop.makeFailedFuture(error) }
            }.wait()
        } catch {
            throw .listen(
                address: own.address?.description ?? "", flag: own.source, reason: errorText(of: error))
        }
    }

    /// On the loop.
    private static func startLoop(
        _ settings: NodeSettings, _ own: OwnMember, identity: NodeIdentity, recovered: RecoveredNode,
        executor: ThreadExecutor, inbox: LoopInbox, board: StatusBoard, eventLoop: any EventLoop,
        ended: EventLoopPromise<StorageError?>,
        logger: Logger, seed: UInt64
    ) throws -> EventLoopFuture<NIOLoopBound<NodeLoop>> {
        let sender = TransportSender()
        let shell = NodeShell(
            identity: identity, options: settings.node, recovered: recovered, executor: executor, inbox: inbox,
            peers: sender, board: board, logger: logger, seed: seed)
        let loop = NodeLoop(
            eventLoop: eventLoop, inbox: inbox, shell: shell, sender: sender, board: board, ended: ended)
        inbox.connect(to: loop)
        let bound = NIOLoopBound(loop, eventLoop: eventLoop)
        let tick = TimeAmount.milliseconds(Int64(settings.node.tickMilliseconds))
        guard let address = own.address else {
            loop.start(tick: tick)
            return eventLoop.makeSucceededFuture(bound)
        }
        var options = TransportOptions(seed: seed)
        options.secret = settings.replication?.secret
        let transport = PeerTransport(
            eventLoop: eventLoop,
            identity: TransportIdentity(
                member: identity.member, store: identity.store, label: identity.label, address: address,
                apiAddress: try HostPort.parse(identity.apiAddress)),
            listenOn: address, peers: own.peers, delegate: loop, logger: logger, options: options)
        sender.transport = transport
        return transport.start().assumeIsolated().map { _ in
            loop.start(tick: tick)
            return bound
        }.nonisolated()
    }
}

extension NodeSettings {
    /// The address that clients are sent to (design rule 13): `-advertise-addr`, else `-addr` with the host of the own
    /// replication address where it names all interfaces.
    func announcedAPIAddress(own: HostPort?, boundPort: Int?) -> String {
        if let apiAdvertised { return apiAdvertised.description }
        guard let listen = apiListen, let boundPort else { return own?.description ?? "localhost:1" }
        let isWildcard = listen.host.isEmpty || listen.isUnspecified
        let host = isWildcard ? own?.host ?? "localhost" : listen.host
        return host.contains(":") ? "[\(host)]:\(boundPort)" : "\(host):\(boundPort)"
    }
}
