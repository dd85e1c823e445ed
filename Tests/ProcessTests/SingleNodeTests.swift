import Glibc
import Testing

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
            #expect(node.process.log.contains("API listening"))
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

        /// Idle clients take what the limit of file descriptors allows them, and leave the rest to the node.
        @Test func idleClientsLeaveDescriptorsToTheNode() throws {
            let node = try SingleNode(flags: ["-memtable-max-size", "65536"], after: "ulimit -n 640")
            defer { extendLifetime(node) }
            let warning = node.process.log.split(separator: "\n").filter { $0.contains(" warning ") }
            #expect(warning.count == 1)
            #expect(warning.first?.contains("640 file descriptors") == true, "\(node.process.log)")
            #expect(warning.first?.contains("128 API connections") == true)
            #expect(warning.first?.contains("ulimit -n") == true)

            let busy = node.process.client()
            #expect(try busy.request("GET", "/health").status == 200)
            var idle: [HTTPClient] = []
            var refused: HTTPAnswer?
            while idle.count < 200, refused == nil {
                let client = node.process.client()
                let answer = try client.request("GET", "/health")
                if answer.status == 200 { idle.append(client) } else { refused = answer }
            }
            #expect((100..<128).contains(idle.count), "\(idle.count)")
            #expect(refused?.status == 503)
            #expect(try refused?.json().error?.contains("128, -max-connections") == true)
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
