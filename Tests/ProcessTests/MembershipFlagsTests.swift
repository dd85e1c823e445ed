import Foundation
import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Who a node is, by what it has stored, by its flags, and by what the cluster says.
    @Suite struct MembershipFlagsTests {
        private static func node(
            _ label: String, api: Int, in directory: TemporaryDirectory, _ flags: [String]
        ) -> NodeProcess {
            NodeProcess(
                label: label, apiPort: api, directory: "\(directory.path)/\(label)", flags: ["-node-id", label] + flags)
        }

        /// Three nodes that are not started; `list` is their `-cluster`.
        private struct Machine {
            let directory = TemporaryDirectory()
            let api = Ports.take(3)
            let replication = Ports.take(3)
            var list: String { replication.map { "127.0.0.1:\($0)" }.joined(separator: ",") }

            func flags(_ place: Int, cluster: String? = nil) -> [String] {
                ["-cluster", cluster ?? list, "-replication-port", "\(replication[place])"]
            }

            func founder(_ place: Int, label: String? = nil, cluster: String? = nil) -> NodeProcess {
                node(label ?? "node\(place + 1)", api: api[place], in: directory, flags(place, cluster: cluster))
            }
        }

        private static func expectRead(_ node: NodeProcess, _ value: String) throws {
            let read = try poll(within: 20, for: "a read at \(node.label); its log:\n\(node.log)") {
                try node.requireRunning()
                return (try? node.client(timeout: 2).request("GET", "/kv/YQ")).flatMap { $0.status == 200 ? $0 : nil }
            }
            #expect(try read.json().value == value)
        }

        private static func write(_ cluster: ClusterProcess, _ value: String) throws {
            let leader = try cluster.waitForLeader()
            #expect(
                try leader.client().request("PUT", "/kv/YQ", body: #"{"value":"\#(value)"}"#).status == 200)
        }

        /// All start again with a `-cluster` that names none of them, and a port that is not theirs.
        @Test func storedPeersCountAfterTheFirstStart() throws {
            let machine = Machine()
            defer { extendLifetime(machine.directory) }
            let first = ClusterProcess((0..<3).map { machine.founder($0) }, in: machine.directory)
            defer { extendLifetime(first) }
            try first.start()
            try Self.write(first, "eA==")
            for node in first.nodes { node.signal(SIGTERM) }
            for node in first.nodes { #expect(try node.waitForExit(within: 10) == .code(0)) }

            let other = Ports.take(3).map { "127.0.0.1:\($0)" }.joined(separator: ",")
            let again = ClusterProcess(
                (0..<3).map {
                    Self.node(
                        "node\($0 + 1)", api: machine.api[$0], in: machine.directory,
                        ["-cluster", other, "-replication-port", "1"])
                }, in: machine.directory)
            defer { extendLifetime(again) }
            try again.start()
            for node in again.nodes {
                try Self.expectRead(node, "eA==")
                let lines = node.log.split(separator: "\n").filter { $0.contains("-cluster differs") }
                #expect(lines.count == 1 && lines[0].contains("127.0.0.1:\(machine.replication[0])"), "\(lines)")
            }
            try Self.write(again, "eQ==")
        }

        @Test func labelThatIsNotTheStoredOne() throws {
            let machine = Machine()
            defer { extendLifetime(machine.directory) }
            let cluster = ClusterProcess((0..<3).map { machine.founder($0) }, in: machine.directory)
            defer { extendLifetime(cluster) }
            try cluster.start()
            try Self.write(cluster, "eA==")
            try Self.expectRead(cluster.nodes[1], "eA==")
            cluster.nodes[1].kill()
            let directory = cluster.nodes[1].directory
            for flags in [machine.flags(1), ["-join", "127.0.0.1:\(machine.replication[0])"]] {
                let run = try Finished(
                    Program.vikdb,
                    [
                        "-addr", "127.0.0.1:\(machine.api[1])", "-node-id", "node7", "-wal-path", directory + "/wal",
                        "-sstable-dir", directory + "/sstables",
                    ] + flags, within: 10)
                #expect(run.exit == .code(64))
                #expect(
                    run.errors.contains("the member node2") && run.errors.contains("-node-id node7"), "\(run.errors)")
            }
        }

        @Test func twoFoundersWithOneLabel() throws {
            let machine = Machine()
            defer { extendLifetime(machine.directory) }
            let nodes = [
                machine.founder(0), machine.founder(1),
                NodeProcess(
                    label: "node3", apiPort: machine.api[2], directory: machine.directory.path + "/node3",
                    flags: ["-node-id", "node2"] + machine.flags(2)),
            ]
            let cluster = ClusterProcess(nodes, in: machine.directory)
            for node in nodes { try node.start() }
            _ = try poll(within: 20, for: "words of both; the second logged:\n\(nodes[1].log)") {
                nodes[1...].allSatisfy { $0.log.contains("has this node's own -node-id") } ? true : nil
            }
            usleep(1_500_000)
            for node in nodes { #expect(node.status()?.isLeader == false) }
            // Corrected, it founds the cluster.
            nodes[2].kill()
            let corrected = ClusterProcess([nodes[0], nodes[1], machine.founder(2)], in: machine.directory)
            defer { extendLifetime((cluster, corrected)) }
            try corrected.nodes[2].start()
            try Self.write(corrected, "eA==")
        }

        // MARK: -join

        @Test func nodeThatNobodyKnowsWaitsAndSaysHowToAddIt() throws {
            let machine = Machine()
            defer { extendLifetime(machine.directory) }
            let cluster = ClusterProcess((0..<3).map { machine.founder($0) }, in: machine.directory)
            defer { extendLifetime(cluster) }
            try cluster.start()
            let port = Ports.take()
            let joiner = Self.node(
                "node4", api: Ports.take(), in: machine.directory,
                [
                    "-join", "127.0.0.1:\(Ports.take()),127.0.0.1:\(machine.replication[1])",
                    "-replication-port", "\(port)",
                ])
            let other = ClusterProcess([joiner], in: machine.directory)
            defer { extendLifetime(other) }
            for signal in [SIGTERM, SIGINT] {
                let command = """
                    curl -X POST http://<the leader's API, from its own machine>/cluster/members -H 'Content-Type: application/json' \
                    -d '{"node_id":"node4","address":"127.0.0.1:\(port)"}'
                    """
                let before = joiner.log.count
                try joiner.start()
                _ = try poll(within: 10, for: "the command; the log:\n\(joiner.log)") {
                    joiner.log.dropFirst(before).contains(command) ? true : nil
                }
                usleep(1_000_000)
                try joiner.requireRunning()
                let lines = joiner.log.dropFirst(before).split(separator: "\n")
                #expect(lines.count { $0.contains("curl") } == 1)
                #expect(lines.count { $0.contains("Connection refused") } == 1)
                joiner.signal(signal)
                #expect(try joiner.waitForExit(within: 5) == .code(0))
            }
            #expect(cluster.nodes[1].log.contains("node4 asks to join"))
        }

        /// A member whose disk was lost learns from the others which one it is.
        @Test func memberIsToldWhoItIs() throws {
            let machine = Machine()
            defer { extendLifetime(machine.directory) }
            let cluster = ClusterProcess((0..<3).map { machine.founder($0) }, in: machine.directory)
            defer { extendLifetime(cluster) }
            try cluster.start()
            try Self.write(cluster, "eA==")
            let lost = try #require(cluster.nodes.firstIndex { $0.status()?.isLeader == false })
            cluster.nodes[lost].kill()
            let directory = cluster.nodes[lost].directory
            for name in ["wal", "sstables"] {
                #expect(rename("\(directory)/\(name)", "\(directory)/lost-\(name)") == 0)
            }
            let members = machine.replication.enumerated().filter { $0.offset != lost }.map {
                "127.0.0.1:\($0.element)"
            }
            let joiner = Self.node(
                "node\(lost + 1)", api: machine.api[lost], in: machine.directory,
                ["-join", members.joined(separator: ",")])
            let again = ClusterProcess([joiner], in: machine.directory)
            defer { extendLifetime(again) }
            try joiner.start()
            try Self.expectRead(joiner, "eA==")
            #expect(joiner.log.contains("the cluster knows this node"))
            #expect(joiner.log.contains("replication=127.0.0.1:\(machine.replication[lost])"))

            // From then on its store knows, and nobody has to be asked.
            joiner.signal(SIGTERM)
            #expect(try joiner.waitForExit(within: 10) == .code(0))
            try joiner.start()
            try Self.expectRead(joiner, "eA==")
            let asked = joiner.log.split(separator: "\n").count { $0.contains("the cluster knows this node") }
            #expect(asked == 1)
        }

        /// All members announce the same API address: each says so, and a follower tells its clients what is wrong.
        @Test func sharedAPIAddress() throws {
            let cluster = ClusterProcess(flags: ["-advertise-addr", "127.0.0.1:9"])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let leader = try cluster.waitForLeader()
            let key = "key".pathKey
            for node in cluster.nodes {
                let warning = "two members announce the same API address"
                _ = try poll(within: 10, for: "warnings; the log:\n\(node.log)") {
                    node.log.components(separatedBy: warning).count == 3 ? true : nil
                }
                let answer = try node.client().request("PUT", "/kv/\(key)", body: #"{"value":"eA=="}"#)
                #expect(answer.status == (node === leader ? 200 : 503), "\(answer.text)")
                if node !== leader {
                    let error = try answer.json().error ?? ""
                    #expect(error.contains("127.0.0.1:9") && error.contains(leader.label), "\(error)")
                    #expect(error.contains("-advertise-addr"))
                }
                #expect(
                    try node.client().request("GET", "/cluster/members").text.components(
                        separatedBy: #""api_address_shared":true"#
                    ).count == 4)
            }
        }
    }
}
