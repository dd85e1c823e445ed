import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    @Suite struct SlowDiskTests {
        /// Each fdatasync of the leader takes two seconds all of a sudden: it gives up the office, though it could still
        /// send heartbeats, and follows once its disk is as before.
        @Test func slowDiskLeader() throws {
            let rounds = Repetitions.count("VIK_PAUSES", default: 2)
            let disk = try SlowDisk()
            let cluster = ClusterProcess(prefix: disk.prefix)
            defer { extendLifetime((cluster, disk)) }
            try cluster.start()
            let load = RecordedLoad(cluster, .init(separatesReads: true))
            defer { load.cancel() }
            load.start(seed: 31)
            var takeovers = Takeovers()
            var returns: [Double] = []
            for round in 0..<rounds {
                usleep(500_000)
                let leader = try cluster.waitForLeader()
                let others = cluster.nodes.filter { $0 !== leader }
                disk.begin(at: leader)
                defer { disk.end(at: leader) }
                try takeovers.waitForWrite(at: others, "\(round)")
                usleep(500_000)
                let next = try cluster.waitForLeader(among: others)
                #expect(leader.status()?.isLeader == false)

                let last = try #require(next.status()?.lastIndex)
                disk.end(at: leader)
                let start = monotonicNanoseconds()
                _ = try poll(within: 15, for: "\(leader.label) following; its log:\n\(leader.log)") {
                    let member = try next.members().first { $0.nodeId == leader.label }
                    return member?.matchIndex ?? 0 >= last ? true : nil
                }
                returns.append(secondsSince(start))
                try leader.waitUntilReady()
            }
            let history = try load.finish()
            print(
                """
                from the leader's disk being slow to the first accepted write elsewhere, \(takeovers.text); \
                it had all again \(returns.map(milliseconds)) ms after that ended; \
                longest gap \(milliseconds(history.longestWriteGap)) ms
                """)
            try judge(history)
        }

        /// A disk that hangs, of a follower and of a leader: nothing waits for it, it is told and said once, and over
        /// when it is over.
        @Test func hangingDisk() throws {
            let disk = try SlowDisk()
            let cluster = ClusterProcess(prefix: disk.prefix)
            defer { extendLifetime((cluster, disk)) }
            try cluster.start()
            for role in ["follower", "leader"] {
                let leader = try cluster.waitForLeader()
                let node = role == "leader" ? leader : try #require(cluster.nodes.first { $0 !== leader })
                let others = cluster.nodes.filter { $0 !== node }
                try node.waitUntilReady()
                let warnings = Self.warnings(node)
                disk.hang(at: node)
                defer { disk.end(at: node) }
                // A leader notices with the first write that its disk does not take.
                if role == "leader" {
                    let put = try node.client().request("PUT", "/kv/\("key".pathKey)", body: #"{"value":"eA=="}"#)
                    #expect(put.status == 503, "\(put.text)")
                }
                var takeovers = Takeovers()
                try takeovers.waitForWrite(at: others, role)
                try Self.expectNotReady(node)
                #expect(try node.metric("vikdb_is_leader") == 0)
                // Its clients are not sent there, but it lives.
                #expect(try node.client().request("GET", "/livez").status == 200)
                try takeovers.waitForWrite(at: others, role + " again")
                disk.end(at: node)
                try node.waitUntilReady()
                #expect(Self.warnings(node) == warnings + 1, "\(node.log)")
            }
        }

        /// A node alone has nobody to leave it to. It says so, and a stop ends all the same.
        @Test func hangingDiskOfANodeAlone() throws {
            let disk = try SlowDisk()
            let directory = TemporaryDirectory()
            let path = directory.path + "/node"
            let node = NodeProcess(
                label: "node", apiPort: Ports.take(), directory: path, prefix: disk.prefix(path),
                flags: ["-request-wait", "1000"])
            defer { extendLifetime((directory, disk)) }
            defer { node.kill() }
            try node.start()
            try node.waitUntilReady()
            func put() throws -> HTTPAnswer {
                try node.client().request("PUT", "/kv/\("key".pathKey)", body: #"{"value":"eA=="}"#)
            }
            #expect(try put().status == 200)
            disk.hang(at: node)
            let hung = try put()
            #expect(hung.status == 503)
            #expect(try hung.json().outcome == "unknown")
            try Self.expectNotReady(node)
            #expect(try node.client().request("GET", "/health").status == 503)
            node.signal(SIGTERM)
            #expect(try node.waitForExit(within: 20) == .code(1))
            #expect(node.log.contains("stopped without waiting for a job of the log lane"), "\(node.log)")
            disk.end(at: node)
            try node.start()
            try node.waitUntilReady()
        }

        /// A start takes as long as its disk, which may be for ever; a signal does not wait for it.
        @Test(arguments: [SIGTERM, SIGINT])
        func hangingDiskAtTheStart(signal: Int32) throws {
            let disk = try SlowDisk()
            let directory = TemporaryDirectory()
            let path = directory.path + "/node"
            #expect(mkdir(path, 0o700) == 0)
            let node = NodeProcess(
                label: "node", apiPort: Ports.take(), directory: path, prefix: disk.prefix(path), flags: [])
            defer { extendLifetime((directory, disk)) }
            defer { node.kill() }
            disk.hang(at: node)
            try node.start()
            _ = try poll(within: 10, for: "the first directory") { access(path + "/wal/lock", F_OK) == 0 ? true : nil }
            node.signal(signal)
            #expect(try node.waitForExit(within: 10) == .code(0))
            #expect(node.log.contains("before the node had started"), "\(node.log)")
            disk.end(at: node)
            try node.start()
            try node.waitUntilReady()
        }

        private static func expectNotReady(_ node: NodeProcess) throws {
            let start = monotonicNanoseconds()
            _ = try poll(within: 10, for: "\(node.label) not ready because of its disk; its log:\n\(node.log)") {
                node.readiness()?.text.contains("failed disk: a write to the log has been out for") == true ? true : nil
            }
            print("a disk that hangs was told after \(Int(secondsSince(start) * 1_000)) ms")
            let line = try node.client().request("GET", "/metrics").text.split(separator: "\n").first {
                $0.hasPrefix("vikdb_log_write_out_seconds ")
            }
            let seconds = try #require(line?.split(separator: " ").last.flatMap { Double($0) })
            #expect(seconds >= 2)
        }

        private static func warnings(_ node: NodeProcess) -> Int {
            node.log.split(separator: "\n").count { $0.contains("a write to the log has not come back") }
        }
    }
}
