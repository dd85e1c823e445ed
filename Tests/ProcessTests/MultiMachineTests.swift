import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Three nodes with addresses of their own, as on three machines, and a network that can fail.
    @Suite(.enabled(if: NetworkNamespaces.isWanted, "network namespaces need root"))
    struct MultiMachineTests {
        @Test func nodeCutOffAndHealed() throws {
            let network = try NetworkNamespaces(3)
            defer { extendLifetime(network) }
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let list = (0..<3).map { "\(network.address($0)):8081" }.joined(separator: ",")
            let cluster = ClusterProcess(
                try (0..<3).map { number in
                    NodeProcess(
                        label: "node\(number + 1)", host: network.address(number), apiPort: 8080,
                        directory: "\(directory.path)/node\(number + 1)", prefix: try network.prefix(number),
                        // The last -addr counts: all interfaces, so that the announced host is that of -cluster.
                        flags: ["-addr", ":8080", "-node-id", "node\(number + 1)", "-cluster", list])
                }, in: directory)
            defer { extendLifetime(cluster) }
            try cluster.start()
            let first = try cluster.waitForLeader()
            for follower in cluster.nodes where follower !== first {
                let answer = try follower.client().request("DELETE", "/kv/YQ")
                #expect(answer.status == 307)
                #expect(answer.headers["location"] == "http://\(first.host):8080/kv/YQ")
            }

            let load = RecordedLoad(cluster)
            defer { load.cancel() }
            load.start(seed: 3)
            usleep(500_000)
            let number = cluster.nodes.firstIndex { $0 === first }!
            let others = cluster.nodes.filter { $0 !== first }
            try network.cutOff(number)
            let second = try cluster.waitForLeader(among: others)
            #expect(try second.client().request("PUT", "/kv/YQ", body: #"{"value":"eA=="}"#).status == 200)
            usleep(1_000_000)
            try network.heal(number)
            // The healed node follows, and has what was written without it.
            _ = try poll(within: 20, for: "\(first.label) following") {
                first.status().flatMap { $0.isLeader == false ? true : nil }
            }
            let read = try poll(within: 20, for: "a read at \(first.label)") {
                (try? first.client().request("GET", "/kv/YQ")).flatMap { $0.status == 503 ? nil : $0 }
            }
            #expect(try read.json().value == "eA==")

            let history = try load.finish()
            #expect(history.operations.count { $0.outcome == .ok } > 200)
            #expect(LinearizabilityChecker.check(history) == .linearizable)
        }
    }
}
