import Glibc
import Logging
import VikDB
import VikWire

/// Nodes in this process, with TCP between them on loopback and real files. Made and stopped on the main thread; the
/// nodes themselves may be used from any.
struct LocalCluster: Sendable {
    let nodes: [Node]

    private static let electionLimit = Duration.seconds(30)
    private static let pollMicroseconds: UInt32 = 2_000

    /// Starts the nodes and waits until all of them know a leader.
    static func start(count: Int, in directory: String, seed: UInt64) throws -> LocalCluster {
        let addresses = try LoopbackPorts.free(count).map { port in try HostPort(host: "127.0.0.1", port: port) }
        let logger = Logger(
            label: "vikbench",
            factory: { label in
                var handler = StreamLogHandler.standardError(label: label)
                handler.logLevel = .error
                return handler
            })
        var nodes: [Node] = []
        do {
            for (place, address) in addresses.enumerated() {
                let root = "\(directory)/node\(place + 1)"
                var settings = NodeSettings(logDirectory: "\(root)/wal", tableDirectory: "\(root)/tables")
                settings.seed = seed &+ UInt64(place)
                if count > 1 {
                    settings.replication = NodeSettings.Replication(
                        label: "node\(place + 1)", cluster: addresses, ownAddress: address)
                }
                nodes.append(try Node.start(settings, logger: logger))
            }
            let cluster = LocalCluster(nodes: nodes)
            try cluster.waitForLeader()
            return cluster
        } catch {
            for node in nodes { node.stop() }
            throw error
        }
    }

    func stop() {
        for node in nodes { node.stop() }
    }

    /// The node that leads in the highest term.
    var leader: Int? {
        let leaders = nodes.indices.map { (node: $0, status: nodes[$0].status) }.filter { $0.status.role == .leader }
        return leaders.max { $0.status.term < $1.status.term }?.node
    }

    private func waitForLeader() throws {
        let deadline = ContinuousClock.now + Self.electionLimit
        while leader == nil || nodes.contains(where: { $0.status.leaderID == nil }) {
            guard ContinuousClock.now < deadline else {
                let trouble = nodes.compactMap(\.status.trouble).first.map { " (\($0))" } ?? ""
                throw BenchmarkError("the nodes elected no leader within 30 seconds\(trouble)")
            }
            usleep(Self.pollMicroseconds)
        }
    }
}

/// Ports of 127.0.0.1 that nobody has.
enum LoopbackPorts {
    /// Below 32768, where Linux begins to take ports for outgoing connections, which would come in between.
    private static let range = 20_000..<32_768
    private static let maxTries = 1_000

    static func free(_ count: Int) throws -> [Int] {
        var ports: [Int] = []
        // Held until all are found, so that none is found twice.
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        for _ in 0..<maxTries where ports.count < count {
            let port = Int.random(in: range)
            guard let socket = boundSocket(port) else { continue }
            sockets.append(socket)
            ports.append(port)
        }
        guard ports.count == count else { throw BenchmarkError("there are no free ports on 127.0.0.1") }
        return ports
    }

    private static func boundSocket(_ port: Int) -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        let isBound = withUnsafeBytes(of: &address) { bytes in
            bind(descriptor, bytes.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t(bytes.count)) == 0
        }
        if isBound { return descriptor }
        close(descriptor)
        return nil
    }
}
