import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Members that come and go, and an office that moves, as an operator asks for it over HTTP.
    @Suite struct MembershipTests {
        /// Three nodes become five and three again, none of the first three among them, while clients go on.
        @Test func replaceAllOriginals() throws {
            let directory = TemporaryDirectory()
            let ports = (0..<6).map { _ in (api: Ports.take(), replication: Ports.take()) }
            let founders = ports[..<3].map { "127.0.0.1:\($0.replication)" }.joined(separator: ",")
            let nodes = ports.enumerated().map { index, port in
                NodeProcess(
                    label: "node\(index + 1)", apiPort: port.api, directory: "\(directory.path)/node\(index + 1)",
                    flags: [
                        "-node-id", "node\(index + 1)", index < 3 ? "-cluster" : "-join", founders,
                        "-replication-port", "\(port.replication)",
                    ])
            }
            let cluster = ClusterProcess(nodes, in: directory)
            defer { extendLifetime(cluster) }
            for node in nodes[..<3] { try node.start() }
            _ = try cluster.waitForLeader(among: Array(nodes[..<3]))
            let load = RecordedLoad(cluster, .init(separatesReads: true))
            defer { load.cancel() }
            var members = Array(nodes[..<3])
            load.tell(members)
            load.start(seed: 21)

            func join(_ place: Int, startsFirst: Bool) throws {
                usleep(300_000)
                if startsFirst { try nodes[place].start() }
                try cluster.add(nodes[place], at: ports[place].replication)
                if !startsFirst { try nodes[place].start() }
                try cluster.waitForVoter(nodes[place])
                try nodes[place].waitUntilReady()
                members.append(nodes[place])
                load.tell(members)
            }
            func leave(_ node: NodeProcess) throws {
                usleep(300_000)
                let leader = try cluster.waitForLeader(among: members)
                let start = monotonicNanoseconds()
                let answer = try cluster.remove(node, at: leader)
                let role = node === leader ? "leader" : "follower"
                print("DELETE of the \(role): \(answer.status) after \(milliseconds(secondsSince(start))) ms")
                #expect(answer.status == 200, "the \(role): \(answer.text); its log:\n\(node.log)")
                members.removeAll { $0 === node }
                load.tell(members)
                _ = try poll(within: 3, for: "\(node.label) removed: \(node.readiness()?.text ?? "")") {
                    let readiness = try node.client().request("GET", "/readyz")
                    return readiness.status == 503 && readiness.text.contains("was removed from the cluster")
                        ? true : nil
                }
                node.signal(SIGTERM)
                #expect(try node.waitForExit(within: 10) == .code(0))
            }
            // One waits until it is added, another is added before it starts.
            try join(3, startsFirst: true)
            try join(4, startsFirst: false)
            let leader = try cluster.waitForLeader(among: members)
            let last = nodes[..<3].first { $0 === leader } ?? nodes[0]
            let others = nodes[..<3].filter { $0 !== last }
            try leave(others[0])
            try join(5, startsFirst: true)
            try leave(others[1])
            try cluster.moveOffice(to: last)
            try leave(last)

            let staying = Array(nodes[3...])
            let next = try cluster.waitForLeader(among: staying)
            let left = try next.members()
            #expect(Set(left.map(\.nodeId)) == Set(staying.map(\.label)))
            #expect(left.allSatisfy { $0.role == "voter" })
            usleep(500_000)
            for node in staying { try node.waitUntilReady() }
            let history = try load.finish(at: staying)
            let gap = history.longestWriteGap
            print("3 to 5 to 3 nodes, all others at the end: \(history.failures); longest gap \(milliseconds(gap)) ms")
            #expect(gap < 3)
            try judge(history)

            // Of five or six one would be no majority with another; of three two are one.
            let witness = try #require(staying.first { $0 !== next })
            staying.first { $0 !== next && $0 !== witness }!.kill()
            _ = try poll(within: 10, for: "a write with two of three nodes") {
                let leader = try cluster.waitForLeader(among: [next, witness], within: 5)
                let answer = try? leader.client().request("PUT", "/kv/YQ", body: #"{"value":"eA=="}"#)
                return answer?.status == 200 ? true : nil
            }
        }

        /// The office goes from node to node. Nobody waits for an election: that would take two seconds at least.
        @Test func officeMovesToTheNamedNode() throws {
            let cluster = ClusterProcess(flags: ["-election-timeout", "2000-3000"])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let load = RecordedLoad(cluster, .init(separatesReads: true))
            defer { load.cancel() }
            load.start(seed: 22)
            for round in 0..<9 {
                usleep(300_000)
                let leader = try cluster.waitForLeader()
                let target = cluster.nodes.filter { $0 !== leader }[round % 2]
                let answer = try leader.handOver(to: target)
                #expect(answer.status == 200, "\(answer.text)")
                #expect(target.status()?.isLeader == true, "\(target.label) does not lead")
                #expect(leader.status()?.isLeader == false, "\(leader.label) still leads")
            }
            // To nobody in particular.
            let leader = try cluster.waitForLeader()
            #expect(try leader.administer("POST", "leader").status == 200)
            #expect(leader.status()?.isLeader == false)
            usleep(300_000)
            let history = try load.finish()
            let gap = history.longestWriteGap
            print("10 moves of the office: \(history.failures); longest gap \(milliseconds(gap)) ms")
            #expect(gap < 1)
            #expect(history.failedWrites == 0)
            try judge(history)
        }

        /// Each node in turn is stopped and started again, in rounds. A leader that stops hands its office over first: an
        /// election would take two seconds at least.
        @Test func rollingRestart() throws {
            let rounds = Repetitions.count("VIK_ROUNDS", default: 2)
            let cluster = ClusterProcess(flags: ["-election-timeout", "2000-3000"])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let load = RecordedLoad(cluster, .init(separatesReads: true))
            defer { load.cancel() }
            load.start(seed: 23)
            var leaders = 0
            var slowest = 0.0
            for _ in 0..<rounds {
                for node in cluster.nodes {
                    usleep(200_000)
                    if node.status()?.isLeader == true { leaders += 1 }
                    let start = monotonicNanoseconds()
                    node.signal(SIGTERM)
                    #expect(try node.waitForExit(within: 10) == .code(0))
                    slowest = max(slowest, secondsSince(start))
                    try node.start()
                    try node.waitUntilReady()
                }
            }
            usleep(200_000)
            let history = try load.finish()
            print(
                "rolling restart, \(rounds) rounds, \(leaders) of \(3 * rounds) stops of a leader, slowest stop \(milliseconds(slowest)) ms: "
                    + "\(history.failures); longest gap \(milliseconds(history.longestWriteGap)) ms between writes, "
                    + "slowest read \(milliseconds(history.slowestRead)) ms")
            #expect(leaders > 0)
            #expect(history.longestWriteGap < 1)
            try judge(history)
        }

        // MARK: Refusals

        @Test func changesThatCannotBeAreRefused() throws {
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            let leader = try cluster.waitForLeader()
            let followers = cluster.nodes.filter { $0 !== leader }
            func refused(
                _ status: Int, _ words: String, _ method: String, _ path: String, _ body: String? = nil,
                _ location: SourceLocation = #_sourceLocation
            ) throws {
                let answer = try leader.administer(method, path, body)
                #expect(answer.status == status, "\(answer.text)", sourceLocation: location)
                let error = try answer.json().error ?? ""
                #expect(error.contains(words), "\(answer.text)", sourceLocation: location)
            }

            try refused(404, "no member is named nobody", "DELETE", "members/nobody")
            try refused(404, "no member is named nobody", "POST", "members/nobody/promote")
            try refused(404, "no member is named nobody", "POST", "leader", #"{"node_id":"nobody"}"#)
            try refused(409, "is the leader already", "POST", "leader", #"{"node_id":"\#(leader.label)"}"#)
            try refused(409, "is a voter already", "POST", "members/\(followers[0].label)/promote")
            try refused(400, "address", "POST", "members", #"{"node_id":"node4"}"#)

            // The same node twice, and another node at its address. The first is fine.
            let address = "127.0.0.1:\(Ports.take())"
            let member = #"{"node_id":"node4","address":"\#(address)","voter":false}"#
            #expect(try leader.administer("POST", "members", member).status == 200)
            try refused(409, "node4 is at \(address) already", "POST", "members", member)
            try refused(
                409, "\(address) is the address of node4", "POST", "members",
                #"{"node_id":"node5","address":"\#(address)"}"#)
            try refused(409, "node4 is no voter", "POST", "leader", #"{"node_id":"node4"}"#)
            try refused(503, "node4 does not answer", "POST", "members/node4/promote")

            // At a follower: to the leader, with the same path.
            let redirect = try followers[0].administer("DELETE", "members/node4")
            #expect(redirect.status == 307)
            #expect(
                redirect.headers["location"] == "http://\(leader.host):\(leader.apiPort)/cluster/members/node4")

            // One of three is down: without another one the last would be alone of two.
            let (dead, living) = (followers[0], followers[1])
            dead.kill()
            _ = try poll(within: 10, for: "silence of \(dead.label)") {
                try leader.members().first { $0.nodeId == dead.label }?.lastContactMs.flatMap { $0 > 700 ? true : nil }
            }
            for node in [living, leader] {
                try refused(
                    409, "only 1 of the 2 voters after the change answer, 2 are needed", "DELETE",
                    "members/\(node.label)")
            }
            try refused(503, "\(dead.label) does not answer", "POST", "leader", #"{"node_id":"\#(dead.label)"}"#)
            #expect(
                try leader.members().map(\.nodeId).sorted() == ["node1", "node2", "node3", "node4"],
                "what was refused changed nothing")
            // The dead one may go, and then the living one: the only voter may not.
            for label in [dead.label, living.label, "node4"] {
                let answer = try leader.administer("DELETE", "members/\(label)")
                #expect(answer.status == 200, "\(label): \(answer.text)")
            }
            try refused(409, "is the only voter", "DELETE", "members/\(leader.label)")
            #expect(try leader.client().request("PUT", "/kv/YQ", body: #"{"value":"eA=="}"#).status == 200)
        }

        /// With `-admin-addr` nobody changes the cluster at `-addr`, not even from the same machine.
        @Test func clusterIsChangedAtTheAdminAddressAlone() throws {
            let directory = TemporaryDirectory()
            let ports = (0..<3).map { _ in (api: Ports.take(), replication: Ports.take(), admin: Ports.take()) }
            let list = ports.map { "127.0.0.1:\($0.replication)" }.joined(separator: ",")
            let cluster = ClusterProcess(
                ports.enumerated().map { index, port in
                    NodeProcess(
                        label: "node\(index + 1)", apiPort: port.api, directory: "\(directory.path)/node\(index + 1)",
                        flags: [
                            "-node-id", "node\(index + 1)", "-cluster", list, "-replication-port",
                            "\(port.replication)", "-admin-addr", "127.0.0.1:\(port.admin)",
                        ])
                }, in: directory)
            defer { extendLifetime(cluster) }
            try cluster.start()
            let leader = try cluster.waitForLeader()
            let target = try #require(cluster.nodes.first { $0 !== leader })
            for (method, path, body) in [
                ("POST", "leader", #"{"node_id":"\#(target.label)"}"#), ("DELETE", "members/\(target.label)", nil),
                ("POST", "members", #"{"node_id":"node4","address":"127.0.0.1:1"}"#),
            ] {
                let answer = try leader.administer(method, path, body)
                #expect(answer.status == 403, "\(method) \(path): \(answer.text)")
                #expect(try answer.json().error?.contains("-admin-addr") == true, "\(answer.text)")
            }
            #expect(leader.status()?.isLeader == true)
            #expect(try leader.members().count == 3)

            let place = try #require(cluster.nodes.firstIndex { $0 === leader })
            let admin = HTTPClient(port: ports[place].admin)
            let answer = try admin.request(
                "POST", "/cluster/leader", body: #"{"node_id":"\#(target.label)"}"#)
            #expect(answer.status == 200, "\(answer.text)")
            #expect(target.status()?.isLeader == true)

            // Sent on from there, the request must come to where it is taken.
            let redirect = try admin.request(
                "POST", "/cluster/leader", body: #"{"node_id":"\#(leader.label)"}"#)
            #expect(redirect.status == 307 || redirect.status == 503, "\(redirect.text)")
            if let location = redirect.headers["location"] {
                let next = try #require(cluster.nodes.firstIndex { $0 === target })
                #expect(
                    !location.contains(":\(ports[next].api)/"), "\(location) is the -addr, where this is forbidden")
            }
        }

        /// Without `-admin-addr` callers on the node's own machine change the cluster, and nobody else.
        @Test(.enabled(if: NetworkNamespaces.isWanted, "network namespaces need root"))
        func otherMachinesDoNotChangeTheCluster() throws {
            let network = try NetworkNamespaces(1)
            defer { extendLifetime(network) }
            let directory = TemporaryDirectory()
            let prefix = try network.prefix(0)
            let cluster = ClusterProcess(
                [
                    NodeProcess(
                        label: "node1", host: network.address(0), apiPort: 8080, directory: directory.path + "/node1",
                        prefix: prefix,
                        // The last -addr counts.
                        flags: ["-addr", ":8080", "-node-id", "node1", "-cluster", "\(network.address(0)):8081"])
                ], in: directory)
            defer { extendLifetime(cluster) }
            try cluster.start()
            let node = try cluster.waitForLeader()
            let member = #"{"node_id":"node2","address":"\#(network.address(1)):8081","voter":false}"#
            for (method, path, body) in [
                ("POST", "members", member), ("DELETE", "members/node1", nil), ("POST", "leader", nil),
                ("POST", "members/node1/promote", nil),
            ] {
                let answer = try node.administer(method, path, body)
                #expect(answer.status == 403, "\(method) \(path): \(answer.text)")
                #expect(try answer.json().error?.contains("on the leader's own machine") == true)
            }
            #expect(try node.members().map(\.nodeId) == ["node1"])

            let run = try Finished(
                prefix[0],
                Array(prefix.dropFirst()) + [
                    "curl", "-s", "-w", "%{http_code}", "-X", "POST", "http://127.0.0.1:8080/cluster/members",
                    "-H", "Content-Type: application/json", "-d", member,
                ])
            #expect(run.output.hasSuffix("200"), "\(run.output)\(run.errors)")
            // What a node shows of its members is a tick old at most.
            _ = try poll(within: 5, for: "node2 among the members") {
                try node.members().contains { $0.nodeId == "node2" } ? true : nil
            }
        }
    }
}
