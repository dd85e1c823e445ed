import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Three nodes with addresses of their own, and routes between them that go: as fencing, a firewall or a routing
    /// daemon takes them away.
    @Suite(.enabled(if: NetworkNamespaces.isWanted, "network namespaces need root"))
    struct RouteTests {
        enum Direction: String, CaseIterable {
            case into, outOf, both
        }

        struct Case: CustomTestStringConvertible {
            let loss: NetworkNamespaces.Loss
            let direction: Direction
            /// Whether it befalls the leader, not a follower.
            let hitsLeader: Bool

            var testDescription: String {
                "\(loss.rawValue), \(direction.rawValue), \(hitsLeader ? "leader" : "follower")"
            }
        }

        /// How long a route is away: longer than a connection that carries something takes to be given up, or, with the
        /// variable, as long as it says; 20 is longer than every time-out.
        static let seconds = Repetitions.count("VIK_ROUTE_SECONDS", default: 7)
        /// With the variable, all of them.
        static let cases: [Case] =
            getenv("VIK_ROUTE_SECONDS") == nil
            ? [
                Case(loss: .blackhole, direction: .both, hitsLeader: true),
                Case(loss: .silence, direction: .into, hitsLeader: false),
            ]
            : NetworkNamespaces.Loss.allCases.flatMap { loss in
                Direction.allCases.flatMap { direction in
                    [true, false].map { Case(loss: loss, direction: direction, hitsLeader: $0) }
                }
            }

        @Test(arguments: cases) func lostRoute(_ lost: Case) throws {
            let network = try NetworkNamespaces(3)
            defer { extendLifetime(network) }
            if lost.hitsLeader { for number in 0..<3 { try network.makeImpatient(number) } }
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let list = (0..<3).map { "\(network.address($0)):8081" }.joined(separator: ",")
            let cluster = ClusterProcess(
                try (0..<3).map { number in
                    Self.node(number, of: network, in: directory, list, prefix: try network.prefix(number))
                }, in: directory)
            defer { extendLifetime(cluster) }
            try cluster.start()
            for node in cluster.nodes { try node.waitUntilReady() }
            let load = RecordedLoad(cluster)
            defer { load.cancel() }
            load.start(seed: 15)
            usleep(500_000)
            let leader = try cluster.waitForLeader()
            let victim = cluster.nodes.firstIndex { ($0 === leader) == lost.hitsLeader }!
            let ways = Self.ways(lost.direction, victim).map { (from: $0.from, to: network.address($0.to)) }

            let start = monotonicNanoseconds()
            for way in ways { try network.lose(lost.loss, from: way.from, to: way.to) }
            var takeovers = Takeovers()
            let others = cluster.nodes.indices.filter { $0 != victim }.map { cluster.nodes[$0] }
            // Where only one direction is lost, the victim may lead on, or again.
            try takeovers.waitForWrite(at: lost.direction == .both ? others : cluster.nodes, "meanwhile")
            while secondsSince(start) < Double(Self.seconds) {
                for node in cluster.nodes { try node.requireRunning() }
                usleep(100_000)
            }
            try takeovers.waitForWrite(at: lost.direction == .both ? others : cluster.nodes, "at the end")
            for way in ways { try network.mend(lost.loss, from: way.from, to: way.to) }

            for node in cluster.nodes {
                try node.requireRunning()
                try node.waitUntilReady()
            }
            let history = try load.finish()
            for node in cluster.nodes { try node.requireRunning() }
            print("\(lost.testDescription) for \(Self.seconds) s: accepted writes \(takeovers.text)")
            try judge(history)
        }

        /// The names of a node that is away find no name server that answers: nobody waits for that but this node's
        /// links to it.
        @Test func hungNameOfADeadMember() throws {
            let network = try NetworkNamespaces(2)
            defer { extendLifetime(network) }
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let list = "\(network.address(0)):8081,\(network.address(1)):8081,dead.vikdb.test:8081"
            let cluster = ClusterProcess(
                try (0..<2).map { number in
                    Self.node(
                        number, of: network, in: directory, list,
                        prefix: try network.prefixWithoutNames(number, in: directory.path),
                        flags: ["-bootstrap-without", "dead.vikdb.test:8081"])
                }, in: directory)
            defer { extendLifetime(cluster) }
            // One look-up takes ten seconds.
            for node in cluster.nodes { try node.start() }
            _ = try cluster.waitForLeader(within: 8)
            for node in cluster.nodes {
                node.kill()
                try node.start()
                let other = cluster.nodes.first { $0 !== node }!
                var takeovers = Takeovers()
                let start = monotonicNanoseconds()
                try takeovers.waitForWrite(at: [node, other], "again")
                #expect(secondsSince(start) < 8)
                try node.waitUntilReady(within: 8)
            }
            // It ends while names hang.
            for node in cluster.nodes {
                node.signal(SIGTERM)
                #expect(try node.waitForExit(within: 8) == .code(0))
            }
        }

        /// As a ban of a client's address may be.
        @Test func nullRouteToAClient() throws {
            let network = try NetworkNamespaces(1)
            defer { extendLifetime(network) }
            try network.makeImpatient(0)
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let node = NodeProcess(
                label: "node1", host: network.address(0), apiPort: 8080, directory: directory.path + "/node1",
                prefix: try network.prefix(0), flags: ["-addr", ":8080"])
            defer { node.kill() }
            try node.start()
            try node.waitUntilServing()
            let status = Shared<Int?>(nil)
            let asking = Workers(1) { _ in
                let client = node.client(timeout: 20)
                guard (try? client.request("GET", "/health")) != nil else { return }
                // Answered while packets are lost, and before their route is gone.
                usleep(150_000)
                let answer = try? client.request("GET", "/health")
                status.change { $0 = answer?.status }
            }
            usleep(50_000)
            try network.lose(.blackhole, from: 0, to: network.ownAddress)
            usleep(4_000_000)
            try node.requireRunning()
            try network.mend(.blackhole, from: 0, to: network.ownAddress)
            try asking.wait(within: 25)
            try node.requireRunning()
            #expect(status.value == 200, "the answer comes through in the end")
            #expect(node.status() != nil)
        }

        private static func node(
            _ number: Int, of network: NetworkNamespaces, in directory: TemporaryDirectory, _ list: String,
            prefix: [String], flags: [String] = []
        ) -> NodeProcess {
            NodeProcess(
                label: "node\(number + 1)", host: network.address(number), apiPort: 8080,
                directory: "\(directory.path)/node\(number + 1)", prefix: prefix,
                flags: ["-addr", ":8080", "-node-id", "node\(number + 1)", "-cluster", list] + flags)
        }

        private static func ways(_ direction: Direction, _ victim: Int) -> [(from: Int, to: Int)] {
            let others = (0..<3).filter { $0 != victim }
            let into = others.map { (from: $0, to: victim) }
            let outOf = others.map { (from: victim, to: $0) }
            return switch direction {
            case .into: into
            case .outOf: outOf
            case .both: into + outOf
            }
        }
    }
}
