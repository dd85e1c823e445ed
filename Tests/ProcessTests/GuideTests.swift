import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// The guide, command by command, in a directory with a link to `vikdb` as the guide has it. Two things are not as
    /// they stand there, and the guide says so: the ports, because several tests may run on a machine, and which node
    /// the writes go to that the guide sends to the leader, because another node than the first may lead.
    @Suite struct GuideTests {
        @Test func everyCommandDoesWhatTheGuideSays() throws {
            let ports = Ports.take(6)
            let commands = GuideCommands(ports: ports)
            try #require(commands.starts.count == 3)
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            #expect(symlink(Program.vikdb, directory.path + "/vikdb") == 0)
            let nodes = try commands.starts.enumerated().map { index, command in
                try ChildProcess(
                    "/bin/sh", ["-c", "cd \(directory.path) && exec \(command)"],
                    logs: "\(directory.path)/node\(index + 1)")
            }
            defer { for node in nodes { node.kill() } }
            let leader = try poll(within: 30, for: "a leader; node 1 logged:\n\(nodes[0].errors)") {
                [ports[0], ports[2], ports[4]].first { port in
                    (try? HTTPClient(port: port).request("GET", "/cluster/status").json())?.isLeader == true
                }
            }
            for (index, node) in nodes.enumerated() {
                #expect(node.errors.contains("Cluster mode enabled"))
                #expect(node.errors.contains("localhost:\(ports[2 * index + 1])"))
            }

            // How curl reports is not part of the commands.
            TextFile.write(
                #"""
                silent
                show-error
                write-out = "\n%{http_code}"
                """#, to: directory.path + "/.curlrc")
            #expect(commands.curls.count { commands.isForTheLeader($0) } == 3)
            var seen: Set<String> = []
            for command in commands.curls {
                let (status, body) = try run(commands.aimed(command, atLeader: leader), in: directory.path)
                switch command {
                case _ where command.contains("-X PUT"):
                    seen.insert("put")
                    #expect(status == 200 && body.success == true, "\(command)")
                    #expect(body.message == "key stored successfully")
                    #expect(body.version ?? 0 > 0)
                case _ where command.contains("-X DELETE"):
                    seen.insert("delete")
                    #expect(status == 200 && body.message == "key deleted successfully", "\(command)")
                case _ where command.contains("/kv/batch"):
                    seen.insert("batch")
                    #expect(status == 200 && body.success == true && body.count == 2, "\(command)")
                case _ where command.contains("/kv/range"):
                    seen.insert("range")
                    #expect(status == 200, "\(command)")
                    #expect(body.items == [AnswerBody.Item(key: "a2V5Mg==", value: "dmFsdWUy")])
                case _ where command.contains("/cluster/status"):
                    seen.insert("status")
                    #expect(status == 200 && body.replication == true && body.term ?? 0 > 0, "\(command)")
                    #expect(body.nodeId == "node1")
                    #expect(body.isLeader == (leader == ports[0]))
                case _ where command.contains("/health"):
                    seen.insert("health")
                    #expect(status == 200 && body.status == "healthy", "\(command)")
                    #expect(body.role == (leader == ports[0] ? "leader" : "follower"))
                    #expect(body.memtableSize != nil && body.walSize != nil && body.sstableCount != nil)
                default:
                    // The guide reads the key that it has deleted before.
                    seen.insert("get")
                    #expect(status == 404 && body.error == "key not found", "\(command)")
                }
            }
            #expect(seen == ["put", "delete", "batch", "range", "status", "health", "get"])

            // What the guide's first PUT stored is there at every node.
            for port in [ports[0], ports[2], ports[4]] {
                let answer = try HTTPClient(port: port).request("GET", "/kv/bXkta2V5").json()
                #expect(answer.value == "bXktdmFsdWU=")
            }
            try redirects(from: [ports[0], ports[2], ports[4]].filter { $0 != leader }, to: leader)

            for node in nodes { node.signal(SIGINT) }
            for node in nodes { #expect(try node.wait(within: 10) == .code(0)) }
        }

        /// A write at a follower: 307 with the same path and query at the leader.
        private func redirects(from followers: [Int], to leader: Int) throws {
            for port in followers {
                let client = HTTPClient(port: port)
                for (method, target) in [("PUT", "/kv/bXkta2V5"), ("DELETE", "/kv/%62Xkta2V5"), ("POST", "/kv/batch")] {
                    let answer = try client.request(method, target, body: method == "DELETE" ? nil : "{}")
                    #expect(answer.status == 307)
                    #expect(answer.headers["location"] == "http://localhost:\(leader)\(target)")
                    #expect(try answer.json().error == "not the leader, redirecting to leader")
                }
            }
        }

        private func run(_ command: String, in directory: String) throws -> (status: Int, AnswerBody) {
            let finished = try Finished("/usr/bin/env", ["CURL_HOME=\(directory)", "/bin/sh", "-c", command])
            #expect(finished.exit == .code(0), "\(finished.errors)")
            let lines = finished.output.split(separator: "\n")
            let status = try #require(lines.last.flatMap { Int($0) }, "\(finished.output)")
            let body = Array(lines.dropLast().joined(separator: "\n").utf8)
            return (status, try HTTPAnswer(status: status, headers: [:], body: body).json())
        }
    }
}
