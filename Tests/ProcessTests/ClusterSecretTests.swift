import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Clusters with `-cluster-secret-file`, and without.
    @Suite struct ClusterSecretTests {
        @Test(arguments: [0, 15, 1_025])
        func secretOfAWrongLength(count: Int) throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let secret = String(repeating: "s", count: count)
            TextFile.write(secret + "\n", to: directory.path + "/secret")
            let run = try Finished(
                Program.vikdb,
                [
                    "-node-id", "a", "-cluster", "localhost:\(Ports.take())", "-cluster-secret-file",
                    directory.path + "/secret", "-wal-path", directory.path + "/wal", "-sstable-dir",
                    directory.path + "/tables",
                ], within: 10)
            #expect(run.exit == .code(64))
            #expect(run.errors.split(separator: "\n").count == 1)
            #expect(run.errors.contains("16 to 1024 bytes"), "\(run.errors)")
            #expect(!run.errors.contains("sss"))
        }

        @Test func nodesWithOneSecretFormACluster() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let path = directory.path + "/secret"
            let secret = "what only this cluster knows"
            TextFile.write(secret + "\n", to: path)
            let cluster = ClusterProcess(flags: ["-cluster-secret-file", path])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let leader = try cluster.waitForLeader()
            let answer = try leader.client().request("PUT", "/kv/YQ", body: #"{"value":"eA=="}"#)
            #expect(answer.status == 200)
            for node in cluster.nodes {
                #expect(!node.log.contains("readable by others") && !node.log.contains("no -cluster-secret-file"))
                #expect(!node.log.contains(secret))
            }

            // One that has another secret, or none, is shut out; both sides say why. With the right one it is back.
            let outsider = cluster.nodes.first { $0 !== leader }!
            outsider.kill()
            TextFile.write("what some other cluster knows", to: path)
            #expect(chmod(path, 0o644) == 0)
            try outsider.start()
            _ = try poll(within: 10, for: "words on both sides") {
                outsider.log.contains("does not hold the secret of this node's")
                    && leader.log.contains("does not hold the secret of this node's") ? true : nil
            }
            #expect(outsider.log.contains("readable by others than its owner"))
            let read = try? outsider.client(timeout: 2).request("GET", "/kv/YQ")
            #expect(read?.status != 200)
            outsider.kill()
            TextFile.write(secret, to: path)
            try outsider.start()
            _ = try poll(within: 20, for: "a read at \(outsider.label)") {
                (try? outsider.client(timeout: 2).request("GET", "/kv/YQ")).flatMap { $0.status == 200 ? true : nil }
            }
        }

        @Test func nodeWithoutASecretSaysSo() throws {
            let cluster = ClusterProcess(nodes: 1)
            defer { extendLifetime(cluster) }
            try cluster.start()
            let lines = cluster.nodes[0].log.split(separator: "\n").filter { $0.contains("no -cluster-secret-file") }
            #expect(lines.count == 1 && lines[0].contains(" warning "))
            let alone = try SingleNode()
            defer { extendLifetime(alone) }
            #expect(!alone.process.log.contains("-cluster-secret-file"))
        }
    }
}
