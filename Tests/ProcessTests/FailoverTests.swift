import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    @Suite struct FailoverTests {
        /// The leader is killed again and again under load: no acknowledged write may be lost, and every answer must
        /// fit one order of all operations.
        @Test func killedLeadersLoseNothing() throws {
            let rounds = Repetitions.count("VIK_KILLS", default: 10)
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            let seed = Seeds.list(1)[0]
            print("seed \(seed)")
            let load = RecordedLoad(cluster)
            defer { load.cancel() }
            load.start(seed: seed)

            var takeovers = Takeovers()
            for round in 0..<rounds {
                usleep(700_000)
                let leader = try cluster.waitForLeader()
                let others = cluster.nodes.filter { $0 !== leader }
                leader.kill()
                try takeovers.waitForWrite(at: others, "\(round)")
                try leader.start()
                try leader.waitUntilServing()
            }
            let history = try load.finish()
            print("from SIGKILL of the leader to the first accepted write elsewhere, \(takeovers.text)")
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

        /// A leader that stands still for longer than an election timeout, then goes on as if nothing had happened. A
        /// read that it was sent meanwhile is the first thing that it finds.
        @Test func stoppedLeader() throws {
            let rounds = Repetitions.count("VIK_PAUSES", default: 3)
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            let load = RecordedLoad(cluster)
            defer { load.cancel() }
            load.start(seed: 2)
            var takeovers = Takeovers()
            var answers: [Int] = []
            for round in 0..<rounds {
                usleep(500_000)
                let leader = try cluster.waitForLeader()
                let others = cluster.nodes.filter { $0 !== leader }
                leader.signal(SIGSTOP)
                defer { leader.signal(SIGCONT) }
                try takeovers.waitForWrite(at: others, "\(round)")
                let read = Shared<HTTPAnswer?>(nil)
                let reader = Workers(1) { _ in
                    let answer = try? leader.client().request("GET", "/kv/\(Takeovers.probe.pathKey)")
                    read.change { $0 = answer }
                }
                // The kernel takes the request; then one more than the leader could know of is written.
                usleep(50_000)
                let newest = "\(round), newest"
                _ = try poll(within: 5, for: "a write at the new leader") {
                    let next = try cluster.waitForLeader(among: others)
                    let body = #"{"value":"\#(newest.base64)"}"#
                    let answer = try? next.client().request("PUT", "/kv/\(Takeovers.probe.pathKey)", body: body)
                    return answer?.status == 200 ? true : nil
                }
                leader.signal(SIGCONT)
                try reader.wait(within: 10)
                let answer = try #require(read.value)
                answers.append(answer.status)
                if answer.status != 503 { #expect(try answer.json().value?.base64Decoded == newest) }
            }
            let history = try load.finish()
            print(
                "from SIGSTOP of the leader to the first accepted write elsewhere, \(takeovers.text); "
                    + "reads found at SIGCONT were answered \(answers)")
            try judge(history)
        }
    }
}
