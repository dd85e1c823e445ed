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

/// Round after round through the addresses, with a pause between rounds that grows. Bound to its loop.
private final class JoinRounds {
    private let join: NodeSettings.Join
    private let request: JoinRequest
    private let eventLoop: any EventLoop
    private let options: TransportOptions
    private let logger: Logger
    private let whenJoined: (JoinedMember) -> Void
    private var retryDelay: RetryDelay
    /// Why each address did not answer, as last logged: the same cause is logged once.
    private var troubles: [HostPort: String] = [:]
    private var hasToldOperator = false
    private var isStopped = false

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
        retryDelay = RetryDelay(least: options.minRetryDelay, most: options.maxRetryDelay, seed: options.seed)
    }

    func start() {
        ask(join.members[...])
    }

    func stop() {
        isStopped = true
    }

    private func ask(_ members: ArraySlice<HostPort>) {
        guard !isStopped else { return }
        guard let member = members.first else {
            eventLoop.assumeIsolated().scheduleTask(in: retryDelay.next()) { self.start() }
            return
        }
        JoinClient.ask(member, request, on: eventLoop, options: options).assumeIsolated().whenComplete { result in
            guard !self.isStopped else { return }
            if let joined = self.judge(result, from: member) {
                self.whenJoined(joined)
            } else {
                self.ask(members.dropFirst())
            }
        }
    }

    private func judge(_ result: Result<JoinClient.Answer, any Error>, from member: HostPort) -> JoinedMember? {
        switch result {
        case .success(let answer):
            troubles[member] = nil
            if case .member(let id, let configuration) = answer.reply {
                return JoinedMember(id: id, configuration: configuration)
            }
            tellOperator(ownHost: answer.ownHost)
        case .failure(let error):
            let cause = (error as? JoinClient.Failure)?.cause ?? "\(error)"
            if troubles[member] != cause {
                troubles[member] = cause
                logger.warning("cannot ask a member to join: \(error)", metadata: ["member": "\(member)"])
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
