import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Nodes with an empty log, led by a member that was added after all that they were told of.
    @Suite struct LateLeaderTests {
        private final class Stage {
            let directory = TemporaryDirectory()
            private(set) var nodes: [NodeProcess] = []
            private(set) var ports: [Int] = []
            let founders: [Int]

            init(founders count: Int) {
                founders = Ports.take(count)
                for number in 1...count { _ = node(number, ["-cluster", list], port: founders[number - 1]) }
            }

            var list: String { founders.map { "127.0.0.1:\($0)" }.joined(separator: ",") }

            func node(_ number: Int, _ flags: [String], port: Int = Ports.take()) -> NodeProcess {
                let node = NodeProcess(
                    label: "node\(number)", apiPort: Ports.take(), directory: "\(directory.path)/node\(number)",
                    flags: ["-node-id", "node\(number)", "-replication-port", "\(port)"] + flags)
                nodes.append(node)
                ports.append(port)
                return node
            }

            var cluster: ClusterProcess { ClusterProcess(nodes, in: directory) }
        }

        /// It asked who it is, then nobody spoke to it until another member, added since, leads.
        @Test func joiningNodeTakesALeaderThatWasAddedAfterItAsked() throws {
            // Node 1 is the only voter at first; node 2 answers in its stead who node 3 is.
            let stage = Stage(founders: 1)
            let second = stage.node(2, ["-join", stage.list])
            let joiner = stage.node(3, ["-join", "127.0.0.1:\(stage.ports[1])"])
            let late = stage.node(4, ["-join", stage.list])
            let cluster = stage.cluster
            defer { extendLifetime(cluster) }
            let first = cluster.nodes[0]
            try first.start()
            try cluster.add(second, at: stage.ports[1], asVoter: false)
            try second.start()
            try second.waitUntilReady()
            try cluster.add(joiner, at: stage.ports[2], asVoter: false)
            let added = try #require(first.status()?.lastIndex)
            _ = try poll(within: 5, for: "\(joiner.label) committed as far as \(second.label) knows") {
                second.status()?.commitIndex == added ? true : nil
            }
            try joiner.start()
            // It knows who it is, and stops before it listens: nobody has spoken to it yet.
            _ = try poll(within: 10, everyMilliseconds: 1, for: "an answer; its log:\n\(joiner.log)") {
                joiner.log.contains("the cluster knows this node") ? true : nil
            }
            joiner.signal(SIGSTOP)

            try cluster.add(late, at: stage.ports[3])
            try late.start()
            try cluster.waitForVoter(late)
            try cluster.moveOffice(to: late)
            let written = try late.client().request("PUT", "/kv/YQ", body: #"{"value":"eA=="}"#)
            try #require(written.status == 200)
            joiner.signal(SIGCONT)
            try Self.expectJoined(joiner, following: late)
        }

        /// Its disk was lost, and -cluster does not name the leader.
        @Test func wipedFounderTakesALeaderThatWasAddedLater() throws {
            let stage = Stage(founders: 3)
            let late = stage.node(4, ["-join", stage.list])
            let cluster = stage.cluster
            defer { extendLifetime(cluster) }
            for node in cluster.nodes[..<3] { try node.start() }
            try cluster.add(late, at: stage.ports[3])
            try late.start()
            try cluster.waitForVoter(late)
            try cluster.moveOffice(to: late)
            let written = try late.client().request("PUT", "/kv/YQ", body: #"{"value":"eA=="}"#)
            try #require(written.status == 200)
            let lost = cluster.nodes[2]
            lost.kill()
            lost.wipe()
            try lost.start()
            try Self.expectJoined(lost, following: late)
        }

        /// A node was removed and added again, under another id, while the member that it asks was away: that one must not
        /// tell it the former id.
        @Test func memberThatWasAwayTellsNoFormerID() throws {
            let stage = Stage(founders: 1)
            let second = stage.node(2, ["-join", stage.list])
            let joiner = stage.node(3, ["-join", "127.0.0.1:\(stage.ports[1])"])
            let cluster = stage.cluster
            defer { extendLifetime(cluster) }
            let first = cluster.nodes[0]
            try first.start()
            try cluster.add(second, at: stage.ports[1], asVoter: false)
            try second.start()
            try second.waitUntilReady()
            try cluster.add(joiner, at: stage.ports[2], asVoter: false)
            let added = try #require(first.status()?.lastIndex)
            _ = try poll(within: 5, for: "\(joiner.label) committed as far as \(second.label) knows") {
                second.status()?.commitIndex == added ? true : nil
            }
            second.kill()
            #expect(try cluster.remove(joiner, at: first).status == 200)
            try cluster.add(joiner, at: stage.ports[2], asVoter: false)
            first.signal(SIGSTOP)
            try second.start()
            try second.waitUntilServing()
            try joiner.start()
            _ = try poll(within: 10, for: "no answer; its log:\n\(joiner.log)") {
                joiner.log.contains("cannot ask a member to join") ? true : nil
            }
            first.signal(SIGCONT)
            try joiner.waitUntilReady()
        }

        private static func expectJoined(_ node: NodeProcess, following leader: NodeProcess) throws {
            let start = monotonicNanoseconds()
            try node.waitUntilReady(within: 10)
            print("\(node.label) follows \(leader.label) after \(milliseconds(secondsSince(start))) ms")
            #expect(leader.status()?.isLeader == true)
            #expect(try node.client().request("GET", "/kv/YQ").json().value == "eA==")
            #expect(node.status()?.lastIndex == leader.status()?.lastIndex)
        }
    }
}
