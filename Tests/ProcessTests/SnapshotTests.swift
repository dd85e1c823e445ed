import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Logs that forget their beginning, and nodes that are brought up from a snapshot.
    @Suite struct SnapshotTests {
        /// Segments and tables so small, and a tail so short, that a few hundred writes leave the log's beginning behind.
        private static let smallLogs = [
            "-log-segment-size", "65536", "-memtable-max-size", "65536", "-log-tail-entries", "100",
        ]
        private static let installed = "vikdb_snapshots_installed_total"

        /// A follower comes back with an empty disk, while clients go on, when the others have no log from the beginning.
        @Test func wipedFollowerIsBroughtUpFromASnapshot() throws {
            let cluster = ClusterProcess(flags: Self.smallLogs)
            defer { extendLifetime(cluster) }
            try cluster.start()
            let load = RecordedLoad(cluster)
            defer { load.cancel() }
            load.start(seed: 11)
            let filling = Filling(cluster)
            for batch in 0..<5 { try filling.write(batch, keys: 40) }
            let lost = try #require(cluster.nodes.first { $0.status()?.isLeader == false })
            lost.kill()
            lost.wipe()
            let batches = try Self.outrun(lost, in: cluster, filling, from: 5)

            let start = monotonicNanoseconds()
            try lost.start()
            try Self.waitForSnapshot(at: lost)
            try lost.waitUntilReady()
            print("snapshot of \(batches) batches: ready after \(milliseconds(secondsSince(start))) ms")
            #expect(lost.log.contains("receiving a snapshot"))
            #expect(lost.log.contains("the snapshot is installed"))
            usleep(300_000)
            try judge(try load.finish())
            #expect(try lost.metric(Self.installed) == 1, "a snapshot brings a node far enough for the log to go on")
            try cluster.expectEqual(filling.contents, only: "fill")
        }

        /// A wiped follower is sent a snapshot through a proxy that cuts its connection, at random points of the transfer:
        /// it goes on, and no more is sent again at each cut than the window of 32 chunks.
        @Test func cutTransferGoesOn() throws {
            let cuts = Repetitions.count("VIK_CUTS", default: 2)
            let stateBytes = Repetitions.count("VIK_STATE_MB", default: 16) << 20
            let seed = Seeds.list(1)[0]
            // A new leader would start over.
            let cluster = ClusterProcess(
                flags: [
                    "-log-segment-size", "1048576", "-memtable-max-size", "1048576", "-log-tail-entries", "10",
                    "-snapshot-rate", "0", "-election-timeout", "3000-4000",
                ])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let filling = Filling(cluster, valueBytes: 1_000)
            var batch = 0
            while filling.writtenBytes < stateBytes {
                try filling.write(batch, keys: 400)
                batch += 1
            }
            let leader = try cluster.waitForLeader()
            let lost = try #require(cluster.nodes.first { $0 !== leader })
            lost.kill()
            lost.wipe()
            _ = try poll(within: 30, for: "logs that have lost their beginning") {
                try filling.write(batch, keys: 400)
                batch += 1
                return cluster.nodes.allSatisfy { $0 === lost || $0.status()?.firstIndex ?? 0 > 1 } ? true : nil
            }

            // Text of random digits and letters is compressed to two thirds.
            var random = SeededRandom(seed: seed)
            let points = (0..<cuts).map { _ in Int(random.next() % UInt64(filling.writtenBytes / 2)) }.sorted()
            let port = try #require(try leader.members().first { $0.nodeId == lost.label }?.port)
            let proxy = try CuttingProxy(to: port, cuttingAfter: zip(points, [0] + points).map { $0 - $1 })
            // The others dial the proxy, while the node itself still knows its own port from -cluster.
            let moved = try leader.administer(
                "POST", "members", #"{"node_id":"\#(lost.label)","address":"127.0.0.1:\#(proxy.port)"}"#)
            try #require(moved.status == 200, "\(moved.text)")

            let sentBefore = try leader.metric("vikdb_peer_sent_bytes_total")
            let start = monotonicNanoseconds()
            try lost.start()
            try Self.waitForSnapshot(at: lost, within: 120)
            try lost.waitUntilReady()
            let seconds = secondsSince(start)
            let sent = try leader.metric("vikdb_peer_sent_bytes_total") - sentBefore
            let compressed = try leader.metric("vikdb_snapshot_sent_bytes_total")
            let traffic = proxy.traffic
            let again = zip(traffic.runs, traffic.runs.dropFirst()).map {
                Int($0.upperBound) + 1 - Int($1.lowerBound)
            }
            print(
                """
                seed \(seed): \(traffic.cuts) cuts of a snapshot of \(try leader.metric("vikdb_snapshot_raw_bytes_total")) \
                bytes, \(compressed) compressed, in \(traffic.runs.last?.upperBound ?? 0) chunks; \
                \(again.reduce(0, +)) of them came again, at most \(again.max() ?? 0) at a cut; \
                the leader sent \(sent) bytes; ready after \(milliseconds(seconds)) ms
                """)
            #expect(traffic.cuts == cuts)
            #expect(traffic.transfers.count == 1, "\(traffic.transfers): it starts over")
            #expect(again.allSatisfy { (0...32).contains($0) }, "\(again)")
            // A chunk is of 256 KiB at most, but for its last record; and there are heartbeats.
            let mostAgain = cuts * 32 * (257 << 10)
            #expect(sent >= compressed && sent < compressed + mostAgain + (1 << 20))
            #expect(try leader.metric("vikdb_snapshots_sent_total") == 1)
            try cluster.expectEqual(filling.contents)
        }

        /// A follower with an old state is killed in the midst of a transfer, again and again; deletions and writes go on
        /// meanwhile.
        @Test func receiverKilledInTheMidstOfATransfer() throws {
            let kills = Repetitions.count("VIK_RECEIVER_KILLS", default: 1)
            let seed = Seeds.list(1)[0]
            var random = SeededRandom(seed: seed)
            let cluster = ClusterProcess(flags: Self.smallLogs + ["-snapshot-rate", "1000000"])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let filling = Filling(cluster, valueBytes: 1_000)
            for batch in 0..<30 { try filling.write(batch, keys: 40) }
            let behind = try #require(cluster.nodes.first { $0.status()?.isLeader == false })
            behind.kill()
            // What it has and the others have no more must be gone at the end.
            for number in 0..<40 { try filling.delete(0, key: number) }
            var batches = try Self.outrun(behind, in: cluster, filling, from: 30)

            var percents: [Int] = []
            for kill in 0..<kills {
                let aim = 10 + Int(random.next() % 60)
                try behind.start()
                let percent = try poll(within: 20, for: "\(aim) % of a transfer; the log:\n\(behind.log)") {
                    behind.status()?.incomingSnapshotPercent.flatMap { $0 >= aim ? $0 : nil }
                }
                behind.kill()
                percents.append(percent)
                #expect(percent < 90, "killed too late")
                #expect(!behind.log.contains("the snapshot is installed"), "killed too late")
                for number in 0..<20 { try filling.delete(1 + kill % 29, key: number) }
            }

            let start = monotonicNanoseconds()
            try behind.start()
            try Self.waitForSnapshot(at: behind) {
                try filling.write(batches, keys: 1)
                batches += 1
            }
            try behind.waitUntilReady()
            print(
                "seed \(seed): killed at \(percents) %, ready \(milliseconds(secondsSince(start))) ms after the next start"
            )
            #expect(behind.log.split(separator: "\n").count { $0.contains("receiving a snapshot bytes=") } > kills)
            try cluster.expectEqual(filling.contents)
        }

        /// A hundred times what segments and tail need is written, for a while without one of the nodes.
        @Test func logStaysBounded() throws {
            let cluster = ClusterProcess(flags: Self.smallLogs)
            defer { extendLifetime(cluster) }
            try cluster.start()
            let filling = Filling(cluster, valueBytes: 1_000)
            let absent = try #require(cluster.nodes.first { $0.status()?.isLeader == false })
            var largest: UInt64 = 0
            // Each batch is an entry of 5 KB; the keys repeat, so that the tables stay small.
            for number in 0..<3_000 {
                if number == 1_000 { absent.signal(SIGSTOP) }
                if number == 2_000 { absent.signal(SIGCONT) }
                try filling.write(number % 50, keys: 5)
                usleep(1_000)
                guard number % 100 == 99 else { continue }
                // The absent one gets at once what it missed, so it is looked at again at the end.
                for node in cluster.nodes where node !== absent || number < 1_000 {
                    largest = max(largest, try node.logBytes())
                }
            }
            // What is written between two looks at the log stays, beside the tail.
            #expect(largest < UInt64(filling.writtenBytes) / 2, "\(largest) of \(filling.writtenBytes) bytes")

            // 100 entries of the tail, what the tables do not hold yet, and the segment in use.
            let bound: UInt64 = 1 << 20
            var number = 0
            let sizes = try poll(within: 10, everyMilliseconds: 100, for: "logs of at most \(bound) bytes") {
                // The log gives up its beginning when it goes on in a new segment.
                try filling.write(number % 50, keys: 5)
                number += 1
                let sizes = try cluster.nodes.map { try $0.logBytes() }
                return sizes.allSatisfy { $0 <= bound } ? sizes : nil
            }
            print("log: \(filling.writtenBytes) bytes written, at most \(largest) on disk, at the end \(sizes)")
            for node in cluster.nodes { #expect(try #require(node.status()?.firstIndex) > 2_000, "\(node.label)") }
            try cluster.expectEqual(filling.contents)
        }

        /// Writes until nobody but `absent` has entries that it has seen.
        ///
        /// - Returns: the number of the next batch.
        private static func outrun(
            _ absent: NodeProcess, in cluster: ClusterProcess, _ filling: Filling, from first: Int
        ) throws -> Int {
            let others = cluster.nodes.filter { $0 !== absent }
            let seen = try #require(try cluster.waitForLeader(among: others).status()?.lastIndex)
            var batch = first
            return try poll(within: 20, everyMilliseconds: 10, for: "logs that begin after entry \(seen)") {
                try filling.write(batch, keys: 4)
                batch += 1
                return others.allSatisfy { $0.status()?.firstIndex ?? 0 > seen + 1 } ? batch : nil
            }
        }

        private static func waitForSnapshot(
            at node: NodeProcess, within seconds: Double = 20, meanwhile: () throws -> Void = {}
        ) throws {
            _ = try poll(within: seconds, for: "a snapshot installed at \(node.label); its log:\n\(node.log)") {
                try node.requireRunning()
                try meanwhile()
                return (try? node.metric(installed)) ?? 0 > 0 ? true : nil
            }
            #expect(try node.metric(installed) == 1)
        }
    }
}
