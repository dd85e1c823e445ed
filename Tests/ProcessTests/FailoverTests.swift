import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    @Suite struct FailoverTests {
        /// The leader is killed again and again under load: no acknowledged write may be lost, and every answer must
        /// fit one order of all operations.
        @Test func killedLeadersLoseNothing() throws {
            let rounds = getenv("VIK_KILLS").flatMap { Int(String(cString: $0)) } ?? 10
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            let seed = Seeds.list(1)[0]
            print("seed \(seed)")
            let load = RecordedLoad(cluster)
            defer { load.cancel() }
            load.start(seed: seed)

            var takeovers: [Double] = []
            for round in 0..<rounds {
                usleep(700_000)
                let leader = try cluster.waitForLeader()
                let others = cluster.nodes.filter { $0 !== leader }
                leader.kill()
                takeovers.append(try firstAcceptedWrite(at: others, round))
                try leader.start()
                try leader.waitUntilServing()
            }
            let history = try load.finish()
            let sorted = takeovers.sorted()
            print(
                "from SIGKILL of the leader to the first accepted write elsewhere, \(rounds) kills: median "
                    + "\(milliseconds(sorted[rounds / 2])) ms, max \(milliseconds(sorted[rounds - 1])) ms")
            try judge(history)
        }

        /// All nodes are killed at once and started again: nothing is lost, and no read is answered as if the store
        /// were empty.
        @Test func killedClusterComesBackWhole() throws {
            let cluster = ClusterProcess(flags: ["-memtable-max-size", "65536", "-log-segment-size", "65536"])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let load = RecordedLoad(cluster, .init(pauseMilliseconds: 0))
            defer { load.cancel() }
            load.start(seed: 1)
            let witness = cluster.nodes[0].client()
            let leader = try cluster.waitForLeader()
            let stored = try leader.client().request("PUT", "/kv/\("witness".pathKey)", body: #"{"value":"eWVz"}"#)
            #expect(stored.status == 200)
            sleep(2)
            for node in cluster.nodes { node.signal(SIGSTOP) }
            for node in cluster.nodes { node.kill() }
            for node in cluster.nodes { try node.start() }
            var answered = 0
            _ = try poll(within: 30, everyMilliseconds: 1, for: "the witness") {
                guard let answer = try? witness.request("GET", "/kv/\("witness".pathKey)") else { return nil as Bool? }
                try #require(answer.status == 503 || answer.status == 200, "\(answer.text)")
                answered += 1
                return answer.status == 200 ? true : nil
            }
            print("reads answered while the cluster came back: \(answered)")
            _ = try cluster.waitForLeader()
            try judge(try load.finish())
        }

        /// A leader that stands still for longer than an election timeout, then goes on as if nothing had happened.
        @Test func frozenLeaderAnswersNothingStale() throws {
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            let load = RecordedLoad(cluster)
            defer { load.cancel() }
            load.start(seed: 2)
            for _ in 0..<3 {
                usleep(500_000)
                let leader = try cluster.waitForLeader()
                leader.signal(SIGSTOP)
                defer { leader.signal(SIGCONT) }
                _ = try cluster.waitForLeader(among: cluster.nodes.filter { $0 !== leader })
                usleep(300_000)
            }
            try judge(try load.finish())
        }

        /// Seconds from now to the first write that one of `nodes` accepts.
        private func firstAcceptedWrite(at nodes: [NodeProcess], _ round: Int) throws -> Double {
            let start = monotonicNanoseconds()
            let clients = nodes.map { $0.client(timeout: 2) }
            return try poll(within: 20, everyMilliseconds: 1, for: "an accepted write after the leader's end") {
                for client in clients {
                    let answer = try? client.request("PUT", "/kv/\("probe".pathKey)", body: #"{"value":"eA=="}"#)
                    if answer?.status == 200 { return secondsSince(start) }
                }
                return nil
            }
        }
    }
}
