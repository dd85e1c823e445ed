import Logging
import NIOCore
import NIOPosix
import VikWire

/// Asks the members at `-join` who this node is, until one of them knows. Has a thread of its own; usable from any.
package final class Joining: Sendable {
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let rounds: NIOLoopBound<JoinRounds>

    /// - Parameter whenJoined: called once, on that thread.
    package init(
        _ join: NodeSettings.Join, _ request: JoinRequest, options: TransportOptions, logger: Logger,
        whenJoined: @escaping @Sendable (JoinedMember) -> Void
    ) {
        let eventLoop = group.next()
        rounds = try! eventLoop.submit {
            let rounds = JoinRounds(
                join, request, eventLoop: eventLoop, options: options, logger: logger, whenJoined: whenJoined)
            rounds.start()
            return NIOLoopBound(rounds, eventLoop: eventLoop)
        }.wait()
    }

    /// Gives up, if nobody has answered yet, and ends the thread. Blocks until that is done.
    package func stop() {
        try? group.next().submit { [rounds] in rounds.value.stop() }.wait()
        try? group.syncShutdownGracefully()
    }
}

/// Asks each address again and again, with a pause that grows, and none of them waits for another. Bound to its loop.
private final class JoinRounds {
    private let join: NodeSettings.Join
    private let request: JoinRequest
    private let eventLoop: any EventLoop
    private let options: TransportOptions
    private let logger: Logger
    private let whenJoined: (JoinedMember) -> Void
    private let resolver: NameResolver
    private let members: [AskedMember]
    private var hasToldOperator = false
    /// Stopped, or joined.
    private var isOver = false

    private final class AskedMember {
        let address: PeerAddress
        var retryDelay: RetryDelay
        /// Why it did not answer, as last logged: the same cause is logged once.
        var trouble: String?

        init(_ address: PeerAddress, _ retryDelay: RetryDelay) {
            self.address = address
            self.retryDelay = retryDelay
        }
    }

    init(
        _ join: NodeSettings.Join, _ request: JoinRequest, eventLoop: any EventLoop, options: TransportOptions,
        logger: Logger, whenJoined: @escaping (JoinedMember) -> Void
    ) {
        self.join = join
        self.request = request
        self.eventLoop = eventLoop
        self.options = options
        self.logger = logger
        self.whenJoined = whenJoined
        let resolver = NameResolver(eventLoop: eventLoop, lookUp: options.lookUp)
        self.resolver = resolver
        members = join.members.enumerated().map { place, address in
            AskedMember(
                PeerAddress(address, resolver: resolver, eventLoop: eventLoop, options: options, logger: logger),
                RetryDelay(
                    least: options.minRetryDelay, most: options.maxRetryDelay, seed: options.seed &+ UInt64(place)))
        }
    }

    func start() {
        for member in members { ask(member) }
    }

    func stop() {
        isOver = true
        for member in members { member.address.stop() }
        resolver.close()
    }

    private func ask(_ member: AskedMember) {
        guard !isOver else { return }
        JoinClient.ask(member.address, request, on: eventLoop, options: options).assumeIsolated().whenComplete {
            guard !self.isOver else { return }
            if let joined = self.judge($0, from: member) {
                self.isOver = true
                return self.whenJoined(joined)
            }
            self.eventLoop.assumeIsolated().scheduleTask(in: member.retryDelay.next()) { self.ask(member) }
        }
    }

    private func judge(_ result: Result<JoinClient.Answer, any Error>, from member: AskedMember) -> JoinedMember? {
        switch result {
        case .success(let answer):
            member.trouble = nil
            if case .member(let id, let configuration) = answer.reply {
                return JoinedMember(id: id, configuration: configuration)
            }
            tellOperator(ownHost: answer.ownHost)
        case .failure(let error):
            let cause = (error as? JoinClient.Failure)?.cause ?? "\(error)"
            if member.trouble != cause {
                member.trouble = cause
                logger.warning(
                    "cannot ask a member to join: \(error)", metadata: ["member": "\(member.address.address)"])
            }
        }
        return nil
    }

    /// Once: what an operator has to do, as a line for a shell.
    private func tellOperator(ownHost: String?) {
        guard !hasToldOperator else { return }
        hasToldOperator = true
        let found = ownHost.flatMap { try? HostPort(host: $0, port: join.port) }
        let address = (join.advertised ?? found)?.description ?? "host:\(join.port)"
        let label = request.label.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing(
            "'", with: "'\\''")
        logger.notice(
            """
            the cluster does not know this node yet; it waits until somebody adds it: \
            curl -X POST http://<the leader's API, from its own machine>/cluster/members -H 'Content-Type: application/json' \
            -d '{"node_id":"\(label)","address":"\(address)"}'
            """)
    }
}
