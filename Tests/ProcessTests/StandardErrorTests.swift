import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Nobody reads what nodes log: docker, journald or `| less` have stopped.
    @Suite struct StandardErrorTests {
        /// The loop has much to say, and nobody reads it: reads, writes, probes and SIGTERM are as ever.
        @Test func aStalledReaderStopsNothing() throws {
            let pipe = UnreadPipe()
            defer { extendLifetime(pipe) }
            let cluster = ClusterProcess(flags: ["-log-level", "trace"]) { directory in
                directory.hasSuffix("/node1") ? pipe.prefix : []
            }
            defer { extendLifetime(cluster) }
            try cluster.start()
            let node = cluster.nodes[0]
            try node.waitUntilReady()
            let leader = try cluster.waitForLeader()
            pipe.fill()
            // A peer that dies gives the loop something to say, again and again.
            let other = try #require(cluster.nodes.first { $0 !== node && $0 !== leader })
            other.kill()

            let client = node.client()
            let start = monotonicNanoseconds()
            var rounds = 0
            // Longer than a status may be old, and than a node may be silent.
            while secondsSince(start) < 7 {
                rounds += 1
                let writer = try cluster.waitForLeader(among: cluster.nodes.filter { $0 !== other }).client()
                let body = #"{"value":"\#("value\(rounds)".base64)"}"#
                #expect(try writer.request("PUT", "/kv/\("key".pathKey)", body: body).status == 200)
                let answer = try client.request("GET", "/kv/\("key".pathKey)")
                #expect(try answer.json().value == "value\(rounds)".base64, "\(answer.text)")
                for probe in ["/livez", "/readyz", "/health"] {
                    let answer = try client.request("GET", probe)
                    #expect(answer.status == 200, "\(probe): \(answer.text)")
                }
            }
            #expect(rounds > 10)
            let stop = monotonicNanoseconds()
            node.signal(SIGTERM)
            #expect(try node.waitForExit(within: 15) == .code(0))
            print("SIGTERM to exit with a full pipe: \(Int(secondsSince(stop) * 1_000)) ms, \(rounds) rounds before")
        }

        /// From the first line on there is no room.
        @Test func aNodeStartsServesAndStops() throws {
            let pipe = UnreadPipe()
            defer { extendLifetime(pipe) }
            pipe.fill()
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let node = NodeProcess(
                label: "node", apiPort: Ports.take(), directory: directory.path + "/node", prefix: pipe.prefix,
                flags: ["-log-level", "trace"])
            defer { node.kill() }
            try node.start()
            try node.waitUntilReady()
            #expect(
                try node.client().request("PUT", "/kv/\("key".pathKey)", body: #"{"value":"eA=="}"#).status == 200)
            node.signal(SIGHUP)
            node.signal(SIGTERM)
            #expect(try node.waitForExit(within: 10) == .code(0))
            // Nothing was made non-blocking that other processes share, so not a byte found its way.
            #expect(pipe.read().allSatisfy { $0 == "\n" })
        }

        /// What does not start, and what only looks at files, ends with its status all the same.
        @Test(
            arguments: [
                (["-no-such-flag"], 64), (["-wal-path", "/proc/none/wal"], 1), (["check", "/none"], 2),
                (["dump", "/none"], 2),
            ] as [([String], Int32)])
        func refusesWithoutAReader(arguments: [String], status: Int32) throws {
            let pipe = UnreadPipe()
            defer { extendLifetime(pipe) }
            pipe.fill()
            let command = pipe.prefix + [Program.vikdb] + arguments
            let run = try Finished(command[0], Array(command.dropFirst()), within: 10)
            #expect(run.exit == .code(status))
        }

        /// Whoever reads again finds everything that had room, in order, and the end.
        @Test func aReaderThatGoesOnFindsTheLines() throws {
            let pipe = UnreadPipe()
            defer { extendLifetime(pipe) }
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let node = NodeProcess(
                label: "node", apiPort: Ports.take(), directory: directory.path + "/node", prefix: pipe.prefix,
                flags: [])
            defer { node.kill() }
            pipe.fill()
            try node.start()
            try node.waitUntilReady()
            var text = ""
            _ = try poll(within: 10, for: "the line of the start") {
                text += pipe.read()
                return text.contains("API listening") ? true : nil
            }
            // One line in the log, and the node goes on.
            node.signal(SIGHUP)
            _ = try poll(within: 10, for: "a line about SIGHUP; \(text)") {
                text += pipe.read()
                return text.contains("SIGHUP") ? true : nil
            }
            #expect(try node.client().request("GET", "/livez").status == 200)
            node.signal(SIGINT)
            #expect(try node.waitForExit(within: 10) == .code(0))
            text += pipe.read()
            #expect(text.contains("notice stopping") && text.hasSuffix(" notice stopped\n"), "\(text)")
        }
    }
}
