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
            try Self.expectEqual(cluster, filling.contents, only: "fill")
        }

        /// A follower with an old state is killed in the midst of a transfer; deletions and writes go on meanwhile.
        @Test func receiverKilledInTheMidstOfATransfer() throws {
            let cluster = ClusterProcess(flags: Self.smallLogs + ["-snapshot-rate", "1000000"])
            defer { extendLifetime(cluster) }
            try cluster.start()
            let filling = Filling(cluster, valueBytes: 1_000)
            for batch in 0..<30 { try filling.write(batch, keys: 40) }
            let behind = try #require(cluster.nodes.first { $0.status()?.isLeader == false })
            behind.kill()
            // What it has and the others have no more must be gone at the end.
            for number in 0..<40 { try filling.delete(0, key: number) }
            let batches = try Self.outrun(behind, in: cluster, filling, from: 30)

            try behind.start()
            let percent = try poll(within: 20, for: "the midst of a transfer; the log:\n\(behind.log)") {
                behind.status()?.incomingSnapshotPercent.flatMap { $0 >= 30 ? $0 : nil }
            }
            behind.kill()
            #expect(percent < 90, "killed too late")
            #expect(!behind.log.contains("the snapshot is installed"), "killed too late")
            for number in 0..<20 { try filling.delete(1, key: number) }

            let start = monotonicNanoseconds()
            try behind.start()
            var more = batches
            try Self.waitForSnapshot(at: behind) {
                try filling.write(more, keys: 1)
                more += 1
            }
            try behind.waitUntilReady()
            print("killed at \(percent) %, ready \(milliseconds(secondsSince(start))) ms after the next start")
            #expect(behind.log.split(separator: "\n").count { $0.contains("receiving a snapshot") } >= 2)
            try Self.expectEqual(cluster, filling.contents)
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
            try Self.expectEqual(cluster, filling.contents)
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

        private static func waitForSnapshot(at node: NodeProcess, meanwhile: () throws -> Void = {}) throws {
            _ = try poll(within: 20, for: "a snapshot installed at \(node.label); its log:\n\(node.log)") {
                try node.requireRunning()
                try meanwhile()
                return (try? node.metric(installed)) ?? 0 > 0 ? true : nil
            }
            #expect(try node.metric(installed) == 1)
        }

        /// All nodes have the same keys and values.
        ///
        /// - Parameter prefix: of the keys that `contents` has all of; others may be there too.
        private static func expectEqual(
            _ cluster: ClusterProcess, _ contents: [String: String], only prefix: String = ""
        ) throws {
            let all = try cluster.nodes.map { try $0.contents() }
            for (node, found) in zip(cluster.nodes, all) {
                let differing = Set(found.keys).union(all[0].keys).filter { found[$0] != all[0][$0] }
                #expect(
                    differing.isEmpty,
                    "\(differing.count) keys of \(node.label) are not as those of \(cluster.nodes[0].label)")
                let ours = found.filter { $0.key.base64Decoded?.hasPrefix(prefix) == true }
                let wrong = Set(ours.keys).union(contents.keys).filter { ours[$0] != contents[$0] }
                #expect(wrong.isEmpty, "\(wrong.count) of \(contents.count) keys of \(node.label) are not as written")
            }
        }
    }
}
