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
    }
}
