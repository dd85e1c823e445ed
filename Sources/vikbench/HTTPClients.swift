import FoundationEssentials
import NIOCore
import NIOHTTP1
import NIOPosix
import VikWire

/// Clients of a running cluster's HTTP API, with one connection each, opened when it is needed. Bound to their loop.
final class HTTPClients: SystemUnderTest {
    var completion: (_ client: Int, _ outcome: Outcome) -> Void = { _, _ in }
    private let targets: [HostPort]
    private let workload: Workload
    private let eventLoop: any EventLoop
    private var clients: [Client]
    /// Where puts go. Changed by a redirect, or by ``findLeader()`` once a put has failed.
    private var leader: HostPort
    private var nextGuess = 0
    private var hasFailed = false

    private struct Client {
        var operation: Operation?
        var wasRedirected = false
        var started = NIODeadline.now()
        var connection: HTTPConnection?
    }

    /// Past the 5 seconds in which a node answers everything.
    private static let answerLimit = TimeAmount.seconds(15)
    private static let connectLimit = TimeAmount.seconds(5)

    init(targets: [HostPort], clients: Int, _ workload: Workload, eventLoop: any EventLoop) {
        self.targets = targets
        self.workload = workload
        self.eventLoop = eventLoop
        self.clients = Array(repeating: Client(), count: clients)
        leader = targets[0]
        scheduleSweep()
    }

    var counters: SystemCounters? { nil }

    func perform(_ operation: Operation, client: Int) {
        clients[client].operation = operation
        clients[client].wasRedirected = false
        clients[client].started = .now()
        send(client)
    }

    func findLeader() {
        guard hasFailed else { return }
        hasFailed = false
        leader = targets[nextGuess % targets.count]
        nextGuess += 1
    }

    private func send(_ client: Int) {
        guard let operation = clients[client].operation else { return }
        let address =
            switch operation {
            case .put: leader
            case .get(_, let node): targets[node]
            }
        if let connection = clients[client].connection {
            if connection.address == address, connection.isUsable {
                send(operation, on: connection)
                return
            }
            // Let go of first: a connection that ends while it is this client's ends the operation.
            clients[client].connection = nil
            connection.close()
        }
        connect(client, to: address)
    }

    private func send(_ operation: Operation, on connection: HTTPConnection) {
        switch operation {
        case .put(let write): connection.send(.PUT, workload.path(write.key), body: workload.body(write))
        case .get(let key, _):
            connection.send(.GET, workload.path(key) + "?consistency=linearizable", body: nil)
        }
    }

    private func connect(_ client: Int, to address: HostPort) {
        ClientBootstrap(group: eventLoop)
            .connectTimeout(Self.connectLimit)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                }
            }
            .connect(host: address.host, port: address.port)
            .hop(to: eventLoop)
            .assumeIsolated()
            .whenComplete { [self] result in
                do {
                    let channel = try result.get()
                    let connection = HTTPConnection(address: address) { [weak self] connection, event in
                        self?.handle(event, of: client, from: connection)
                    }
                    try channel.pipeline.syncOperations.addHandler(connection)
                    clients[client].connection = connection
                    send(client)
                } catch {
                    hasFailed = true
                    complete(client, .refused("cannot connect to \(address): \(error)"))
                }
            }
    }

    private func handle(_ event: HTTPConnection.Event, of client: Int, from connection: HTTPConnection) {
        guard clients[client].connection === connection else { return }
        switch event {
        case .closed(let reason):
            clients[client].connection = nil
            guard clients[client].operation != nil else { return }
            hasFailed = true
            complete(client, .unknown(reason))
        case .response(let response):
            guard let operation = clients[client].operation else { return }
            if response.status == .temporaryRedirect, case .put = operation, !clients[client].wasRedirected,
                let address = response.location.flatMap(Self.address(of:))
            {
                clients[client].wasRedirected = true
                leader = address
                send(client)
            } else {
                let outcome = response.outcome(of: operation)
                switch outcome {
                case .acknowledged, .value: break
                case .refused, .unknown: hasFailed = true
                }
                complete(client, outcome)
            }
        }
    }

    private func complete(_ client: Int, _ outcome: Outcome) {
        guard clients[client].operation != nil else { return }
        clients[client].operation = nil
        completion(client, outcome)
    }

    /// Closes connections whose answer is overdue; its outcome is then unknown.
    private func scheduleSweep() {
        eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { [weak self] in
            guard let self else { return }
            let limit = NIODeadline.now() - Self.answerLimit
            for client in clients where client.operation != nil && client.started < limit {
                client.connection?.close()
            }
            scheduleSweep()
        }
    }

    /// The address in `http://host:port/path`.
    private static func address(of location: String) -> HostPort? {
        let scheme = "http://"
        guard location.hasPrefix(scheme) else { return nil }
        return try? HostPort.parse(String(location.dropFirst(scheme.count).prefix { $0 != "/" }))
    }
}

extension HTTPConnection.Response {
    private struct Answer: Decodable {
        /// Base64 in JSON.
        var value: Data?
        var error: String?
        var outcome: String?
    }

    fileprivate func outcome(of operation: Operation) -> Outcome {
        // What a put's success says is of no use here, and is not paid for.
        if case .put = operation, status == .ok { return .acknowledged }
        let answer = try? JSONDecoder().decode(Answer.self, from: Data(body.readableBytesView))
        let failure = "\(status.code): \(answer?.error ?? "no reason given")"
        switch operation {
        case .get where status == .ok && answer?.value != nil: return .value(answer?.value.map { Array($0) })
        case .get where status == .notFound: return .value(nil)
        case .get: return .refused(failure)
        case .put where (300..<500).contains(status.code) || answer?.outcome == "not_applied":
            return .refused(failure)
        case .put: return .unknown(failure)
        }
    }
}
