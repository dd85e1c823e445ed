import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Design rule 9's trap: of three nodes, C is away while A and B acknowledge writes; then B loses its disk. B must not
    /// vote as if it remembered: neither for A, nor, worst of all, for C, which never saw those writes.
    @Suite struct LostDiskTests {
        enum Trap: CaseIterable {
            /// C comes back after a while.
            case absentComesBack
            /// The same, but A leads and has not noticed yet that it is alone when B starts again: it gives B its log.
            case leaderHasNotNoticed
            /// A dies, then C comes back, and last A. It was B that led.
            case survivorDies
            /// The same, but B asks A who it is, which A does not tell without a majority.
            case survivorDiesBeforeJoin

            var survivorDies: Bool { self == .survivorDies || self == .survivorDiesBeforeJoin }
        }

        @Test(arguments: Trap.allCases)
        func wipedWhileAnotherIsCutOff(_ trap: Trap) throws {
            let wait = ["-request-wait", "200"]
            let cluster = ClusterProcess(flags: wait)
            defer { extendLifetime(cluster) }
            try cluster.start()
            let filling = Filling(cluster)
            try filling.write(0, keys: 20)
            let leader = try cluster.waitForLeader()
            let followers = cluster.nodes.filter { $0 !== leader }
            let (survivor, wiped) = trap == .survivorDies ? (followers[0], leader) : (leader, followers[0])
            let absent = followers[1]
            // What C never hears of: new values, new keys, and a deletion.
            absent.kill()
            try filling.write(0, keys: 10)
            try filling.write(1, keys: 20)
            try filling.delete(0, key: 19)
            let ports = try survivor.members().map { (label: $0.nodeId, port: $0.port!) }
            func port(of node: NodeProcess) -> Int { ports.first { $0.label == node.label }!.port }
            wiped.kill()
            wiped.wipe()
            if trap != .leaderHasNotNoticed {
                _ = try poll(within: 5, for: "\(survivor.label) alone") {
                    survivor.readiness()?.text.contains("no leader is known") == true ? true : nil
                }
            }
            let again =
                trap != .survivorDiesBeforeJoin
                ? wiped
                : NodeProcess(
                    label: wiped.label, apiPort: wiped.apiPort, directory: wiped.directory,
                    flags: wait + [
                        "-node-id", wiped.label, "-join", "127.0.0.1:\(port(of: survivor))", "-replication-port",
                        "\(port(of: wiped))",
                    ])
            defer { again.kill() }
            try again.start()
            // Who waits to be told has no API yet.
            let waiting = trap == .survivorDiesBeforeJoin ? [] : [again]
            for node in waiting { try node.waitUntilServing() }
            try Self.expectNothingServed(by: [survivor] + waiting, filling)
            switch trap {
            case .absentComesBack, .survivorDies:
                try Self.expectWords(
                    of: again, "waiting to be recorded by the leader",
                    "this store is empty but the cluster has data; it does not vote until the leader has recorded it")
            case .survivorDiesBeforeJoin:
                _ = try poll(within: 5, for: "a reason; its log:\n\(again.log)") {
                    again.log.contains("cannot ask a member to join") ? true : nil
                }
                #expect(survivor.log.contains("no majority confirms to this node who the members are"))
            case .leaderHasNotNoticed:
                break
            }

            if trap.survivorDies { survivor.kill() }
            try absent.start()
            if trap.survivorDies {
                try absent.waitUntilServing()
                try Self.expectNothingServed(by: [absent] + waiting, filling)
                try survivor.start()
            }
            let start = monotonicNanoseconds()
            for node in [survivor, absent, again] { try node.waitUntilReady() }
            print("\(trap): all ready \(milliseconds(secondsSince(start))) ms after the last one was back")
            try filling.write(2, keys: 20)
            try cluster.expectEqual(filling.contents, only: "fill")
        }

        private static func expectWords(of node: NodeProcess, _ readiness: String, _ logged: String) throws {
            let text = try #require(node.readiness()).text
            #expect(text.contains(readiness), "\(text)")
            #expect(node.log.contains(logged), "\(node.log)")
        }

        /// For the time of several elections nobody takes a write or answers a read.
        private static func expectNothingServed(by nodes: [NodeProcess], _ filling: Filling) throws {
            let key = filling.contents.keys.first!.base64Decoded!
            let clients = nodes.map { $0.client(timeout: 4) }
            let start = monotonicNanoseconds()
            while secondsSince(start) < 1.2 {
                for (node, client) in zip(nodes, clients) {
                    let write = try client.request("PUT", "/kv/\("attempt".pathKey)", body: #"{"value":"eA=="}"#)
                    try #require(write.status == 503 || write.status == 307, "\(node.label): \(write.text)")
                    let read = try client.request("GET", "/kv/\(key.pathKey)")
                    try #require(read.status == 503, "\(node.label): \(read.text)")
                }
            }
        }
    }
}
