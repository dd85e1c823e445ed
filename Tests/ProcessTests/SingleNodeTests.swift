import Foundation
import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    @Suite struct SingleNodeTests {
        @Test func saysThatItIsAlone() throws {
            let node = try SingleNode()
            defer { extendLifetime(node) }
            let client = node.process.client()
            let health = try client.request("GET", "/health")
            #expect(health.status == 200)
            let body = try health.json()
            #expect(body.role == "single-node")
            #expect(body.status == "healthy")
            #expect(body.memtableSize != nil && body.walSize != nil && body.sstableCount != nil)
            let status = try client.request("GET", "/cluster/status").json()
            #expect(status.replication == false)
            #expect(status.mode == "single-node")
            // Lines are written by a thread of their own.
            _ = try poll(within: 10, for: "its first lines") {
                node.process.log.contains("API listening") ? true : nil
            }
            #expect(!node.process.log.contains("Cluster mode enabled"))
        }

        /// SIGKILL in the middle of writes, several times: each acknowledged write is there after the next start, in
        /// the log or in the tables that were flushed meanwhile.
        @Test func killedNodeKeepsWhatItAcknowledged() throws {
            let node = try SingleNode(flags: ["-memtable-max-size", "65536", "-log-segment-size", "65536"])
            defer { extendLifetime(node) }
            var acknowledged: [Int] = []
            let filling = String(repeating: "v", count: 700).base64
            for round in 0..<4 {
                let client = node.process.client()
                let end = monotonicNanoseconds() + 500_000_000
                var number = round * 1_000_000
                while monotonicNanoseconds() < end {
                    let answer = try client.request(
                        "PUT", "/kv/\("key\(number)".pathKey)", body: #"{"value":"\#(filling)"}"#)
                    if answer.status == 200 { acknowledged.append(number) }
                    number += 1
                }
                node.process.kill()
                try node.process.start()
                try node.waitUntilReady()
            }
            #expect(acknowledged.count > 100)
            let client = node.process.client()
            let lost = try acknowledged.filter { number in
                try client.request("GET", "/kv/\("key\(number)".pathKey)").json().value != filling
            }
            #expect(lost.isEmpty, "\(lost.count) of \(acknowledged.count) are lost, first \(lost.first ?? 0)")
            let tables = try client.request("GET", "/health").json().sstableCount
            print("acknowledged and found again: \(acknowledged.count) writes, \(tables ?? 0) tables")
            #expect(tables ?? 0 > 0, "nothing was flushed, so only the log was tried")
        }

        /// SIGTERM while requests are on their way: each gets an answer or a closed connection, the node ends with
        /// status 0, and what it acknowledged is there afterwards.
        @Test func stopsWithinSeconds() throws {
            let node = try SingleNode()
            defer { extendLifetime(node) }
            let stop = StopFlag()
            let process = node.process
            let counts = Shared<[Int]>(Array(repeating: 0, count: 8))
            let workers = Workers(8) { number in
                let client = process.client()
                while !stop.isSet {
                    let key = "\(number)-\(counts.value[number])".pathKey
                    guard
                        let answer = try? client.request("PUT", "/kv/\(key)", body: #"{"value":"eA=="}"#),
                        answer.status == 200
                    else { return }
                    counts.change { $0[number] += 1 }
                }
            }
            usleep(500_000)
            let start = monotonicNanoseconds()
            process.signal(SIGTERM)
            #expect(try process.waitForExit(within: 10) == .code(0))
            print("SIGTERM under load to exit: \(Int(secondsSince(start) * 1_000)) ms")
            stop.raise()
            try workers.wait(within: 20)
            try process.start()
            try node.waitUntilReady()
            let client = process.client()
            for (number, count) in counts.value.enumerated() {
                #expect(count > 0)
                let lost = try (0..<count).filter { index in
                    try client.request("GET", "/kv/\("\(number)-\(index)".pathKey)").status != 200
                }
                #expect(lost.isEmpty, "\(lost.count) of \(count) of client \(number) are lost")
            }
        }

        /// Idle clients take what the limit of file descriptors allows them, on all listeners together, and leave the rest
        /// to the node, to probes and to operators.
        @Test(arguments: [(640, 128, false), (960, 448, true)])
        func idleClientsLeaveDescriptorsToTheNode(limit: Int, room: Int, hasAdmin: Bool) throws {
            let adminPort = Ports.take()
            let node = try SingleNode(
                flags: ["-memtable-max-size", "65536"] + (hasAdmin ? ["-admin-addr", "127.0.0.1:\(adminPort)"] : []),
                after: "ulimit -n \(limit)")
            defer { extendLifetime(node) }
            let warning = node.process.log.split(separator: "\n").filter { $0.contains(" warning ") }
            #expect(warning.count == 1)
            #expect(warning.first?.contains("\(limit) file descriptors") == true, "\(node.process.log)")
            #expect(warning.first?.contains("\(room) API connections") == true)
            #expect(warning.first?.contains("ulimit -n") == true)

            let missing = "/kv/\("none".pathKey)"
            let busy = node.process.client()
            #expect(try busy.request("GET", missing).status == 404)
            var idle: [HTTPClient] = []
            for port in hasAdmin ? [adminPort, node.process.apiPort] : [node.process.apiPort] {
                // On one of two listeners half of them, so that both have some.
                let goal = port == adminPort ? room / 2 : 2 * limit
                var refused: HTTPAnswer?
                while idle.count < goal, refused == nil {
                    let client = HTTPClient(port: port)
                    let answer = try client.request("GET", missing)
                    if answer.status == 404 { idle.append(client) } else { refused = answer }
                }
                guard port != adminPort else { continue }
                #expect((room - 28..<room).contains(idle.count), "\(idle.count)")
                #expect(refused?.status == 503)
                #expect(try refused?.json().error?.contains("(\(room), -max-connections)") == true)
            }
            #expect(try node.process.client().request("GET", "/readyz").status == 200)
            if hasAdmin { #expect(try HTTPClient(port: adminPort).request("GET", missing).status == 404) }
            // Tables are written meanwhile.
            let filling = String(repeating: "v", count: 1_000).base64
            for number in 0..<200 {
                let answer = try busy.request(
                    "PUT", "/kv/\("key\(number)".pathKey)", body: #"{"value":"\#(filling)"}"#)
                #expect(answer.status == 200 || answer.status == 429, "\(answer.text)")
            }
            _ = try poll(within: 10, for: "a table") {
                try busy.request("GET", "/health").json().sstableCount ?? 0 > 0 ? true : nil
            }
            extendLifetime(idle)
        }

        /// Without a file descriptor left, the node neither stops nor spins: what needs one waits until there is one again.
        @Test func waitsForDescriptors() throws {
            let node = try SingleNode(flags: ["-memtable-max-size", "65536"])
            defer { extendLifetime(node) }
            let id = try #require(node.process.processID)
            let busy = node.process.client()
            #expect(try busy.request("GET", "/livez").status == 200)
            let open = Set(
                try FileManager.default.contentsOfDirectory(atPath: "/proc/\(id)/fd").compactMap { Int($0) })
            let firstFree = try #require((0...open.count).first { !open.contains($0) })
            func limitDescriptors(_ count: Int) throws {
                let run = try Finished("/usr/bin/prlimit", ["--pid", "\(id)", "--nofile=\(count):"])
                #expect(run.exit == .code(0), "\(run.errors)")
            }
            try limitDescriptors(firstFree)
            // A client that cannot be accepted waits in the backlog, and costs next to nothing.
            let late = Shared<HTTPAnswer?>(nil)
            let workers = Workers(1) { _ in
                let answer = try? node.process.client(timeout: 30).request("GET", "/livez")
                late.change { $0 = answer }
            }
            _ = try poll(within: 10, for: "a line about connections; the log:\n\(node.process.log)") {
                node.process.log.contains("cannot accept client connections") ? true : nil
            }
            let (before, start) = (processorSeconds(of: id), monotonicNanoseconds())
            usleep(1_000_000)
            let share = (processorSeconds(of: id) - before) / secondsSince(start)
            #expect(share < 0.5, "\(share) of a processor")
            // A memtable is full, and its table cannot be created.
            let filling = String(repeating: "v", count: 1_000).base64
            _ = try poll(within: 20, for: "a line about files; the log:\n\(node.process.log)") {
                let key = "key\(Int.random(in: 0..<1_000_000))".pathKey
                let answer = try busy.request("PUT", "/kv/\(key)", body: #"{"value":"\#(filling)"}"#)
                #expect([200, 429, 503].contains(answer.status), "\(answer.text)")
                return node.process.log.contains("waits for a file descriptor") ? true : nil
            }
            #expect(try busy.request("GET", "/livez").status == 200)
            #expect(late.value == nil)
            try limitDescriptors(4_000)
            try workers.wait(within: 20)
            #expect(late.value?.status == 200)
            _ = try poll(within: 10, for: "a table") {
                try busy.request("GET", "/health").json().sstableCount ?? 0 > 0 ? true : nil
            }
            let lines = node.process.log.split(separator: "\n").filter {
                $0.contains("waits for a file descriptor")
            }
            #expect(lines.count == 1, "\(lines)")
        }

        /// User and system time that a process has had.
        private func processorSeconds(of id: pid_t) -> Double {
            let fields = TextFile.read("/proc/\(id)/stat").split(separator: ")").last?.split(separator: " ") ?? []
            // The 14th and 15th of all; the first two stand before the name's end.
            let ticks = fields.count > 12 ? (Double(fields[11]) ?? 0) + (Double(fields[12]) ?? 0) : 0
            return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
        }

        /// What waits for a majority that does not come is answered before a stopping node cuts its connections.
        @Test func stoppingAnswersWhatWaits() throws {
            // A leader that hears from nobody keeps its office for longer than the stop takes.
            let cluster = ClusterProcess(flags: ["-election-timeout", "4000-4500"])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let leader = try cluster.waitForLeader()
            let key = "key".pathKey
            #expect(try leader.client().request("PUT", "/kv/\(key)", body: #"{"value":"eA=="}"#).status == 200)
            for node in cluster.nodes where node !== leader { node.kill() }
            let answers = Shared<[String: HTTPAnswer]>([:])
            let workers = Workers(2) { number in
                let method = ["GET", "PUT"][number]
                let body = method == "PUT" ? #"{"value":"eQ=="}"# : nil
                let answer = try? leader.client().request(method, "/kv/\(key)", body: body)
                answers.change { $0[method] = answer }
            }
            usleep(300_000)
            #expect(answers.value.isEmpty)
            let start = monotonicNanoseconds()
            leader.signal(SIGTERM)
            #expect(try leader.waitForExit(within: 10) == .code(0))
            let seconds = secondsSince(start)
            #expect(seconds < 4, "\(seconds)")
            print("SIGTERM with waiting requests to exit: \(Int(seconds * 1_000)) ms")
            try workers.wait(within: 20)
            let read = try #require(answers.value["GET"])
            #expect(read.status == 503)
            #expect(try read.json().error?.contains("the node is stopping") == true, "\(read.text)")
            let write = try #require(answers.value["PUT"])
            #expect(write.status == 503)
            #expect(try write.json().outcome == "unknown", "\(write.text)")
        }

        @Test func secondSignalEndsAtOnce() throws {
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            let leader = try cluster.waitForLeader()
            for node in cluster.nodes where node !== leader { node.kill() }
            // Writes that can no longer commit keep the first stop waiting.
            let workers = Workers(4) { number in
                _ = try? leader.client().request("PUT", "/kv/\("k\(number)".pathKey)", body: #"{"value":"eA=="}"#)
            }
            usleep(50_000)
            leader.signal(SIGINT)
            usleep(50_000)
            let start = monotonicNanoseconds()
            leader.signal(SIGINT)
            let exit = try leader.waitForExit(within: 5)
            #expect(exit == .signal(SIGINT) || exit == .code(0))
            #expect(secondsSince(start) < 1)
            try workers.wait(within: 20)
        }
    }
}
