import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// Directories that come back: of a machine that was replaced, and older copies of a node's own.
    @Suite struct ReplacedStoreTests {
        private static let names = ["wal", "sstables"]

        /// Of a node that does not run.
        private static func shelve(_ node: NodeProcess, as tag: String) {
            for name in names {
                let moved = rename("\(node.directory)/\(name)", "\(node.directory)/\(tag)-\(name)")
                precondition(moved == 0, "\(name) of \(node.label)")
            }
        }

        private static func putBack(_ node: NodeProcess, from tag: String) {
            for name in names {
                let moved = rename("\(node.directory)/\(tag)-\(name)", "\(node.directory)/\(name)")
                precondition(moved == 0, "\(name) of \(node.label)")
            }
        }

        private static func copy(_ node: NodeProcess, to tag: String) throws {
            for name in names {
                let run = try Finished(
                    "/bin/cp", ["-a", "\(node.directory)/\(name)", "\(node.directory)/\(tag)-\(name)"])
                try #require(run.exit == .code(0), "\(run.errors)")
            }
        }

        private static func term(of node: NodeProcess) throws -> UInt64 {
            try #require(node.status()?.term)
        }

        /// Writes at the leader, one after the other, for some time.
        ///
        /// - Returns: how many succeeded, and what the others were answered.
        private static func writes(at leader: NodeProcess, for seconds: Double) throws -> (good: Int, bad: [String]) {
            let client = leader.client()
            var (good, bad) = (0, [String]())
            let start = monotonicNanoseconds()
            while secondsSince(start) < seconds {
                let answer = try client.request("PUT", "/kv/\("load".pathKey)", body: #"{"value":"eA=="}"#)
                if answer.status == 200 { good += 1 } else { bad.append("\(answer.status) \(answer.text)") }
                usleep(5_000)
            }
            return (good, bad)
        }

        private static func waitUntilRefused(_ node: NodeProcess) throws {
            _ = try poll(
                within: 10,
                for: "\(node.label) refused: \(node.readiness()?.text ?? "no answer"); its log:\n\(node.log)"
            ) {
                try node.requireRunning()
                let readiness = node.readiness()
                return readiness?.status == 503 && readiness!.text.contains("other directories are on record")
                    ? true : nil
            }
        }

        /// The old machine and its replacement, under the same name and address, in turns: the record stays, and so does
        /// the leader.
        @Test func replacedMachineInTurns() throws {
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            let leader = try cluster.waitForLeader()
            let node = cluster.nodes.first { $0 !== leader }!
            for one in cluster.nodes { try one.waitUntilReady() }
            let filling = Filling(cluster)
            try filling.write(0, keys: 20)
            node.kill()
            Self.shelve(node, as: "old")
            try node.start()
            try node.waitUntilReady()
            let (term, entries) = (try Self.term(of: leader), try #require(leader.status()?.lastIndex))

            var (good, refused) = (0, 0)
            for _ in 0..<2 {
                node.kill()
                Self.shelve(node, as: "new")
                Self.putBack(node, from: "old")
                try node.start()
                try Self.waitUntilRefused(node)
                refused += 1
                let load = try Self.writes(at: leader, for: 1)
                #expect(load.bad.isEmpty, "\(load.bad.first ?? "")")
                good += load.good
                node.kill()
                Self.shelve(node, as: "old")
                Self.putBack(node, from: "new")
                try node.start()
                try node.waitUntilReady()
                let more = try Self.writes(at: leader, for: 1)
                #expect(more.bad.isEmpty, "\(more.bad.first ?? "")")
                good += more.good
            }
            #expect(try Self.term(of: leader) == term)
            // Nothing but those writes: no configuration.
            #expect(leader.status()?.lastIndex == entries + UInt64(good))
            print("\(good) writes, none failed, term \(term) throughout, refused \(refused) times")
            #expect(leader.log.contains("shows other directories than those on record for this member"))
            #expect(node.log.contains("refuses this node: other directories are on record for this member"))
            try cluster.expectEqual(filling.contents, only: "fill")
        }

        /// The replacement has another address; the old machine comes back beside it, while every vote counts.
        @Test func replacedMachineBesideItsReplacement() throws {
            let directory = TemporaryDirectory()
            let (api, replication) = (Ports.take(4), Ports.take(4))
            let founders = replication[..<3].map { "127.0.0.1:\($0)" }.joined(separator: ",")
            func node(_ place: Int, label: String, _ how: String, _ tag: String) -> NodeProcess {
                NodeProcess(
                    label: label, apiPort: api[place], directory: "\(directory.path)/\(tag)",
                    flags: ["-node-id", label, how, founders, "-replication-port", "\(replication[place])"])
            }
            let originals = (0..<3).map { node($0, label: "node\($0 + 1)", "-cluster", "node\($0 + 1)") }
            let cluster = ClusterProcess(originals, in: directory)
            defer { extendLifetime(cluster) }
            try cluster.start()
            for one in originals { try one.waitUntilReady() }
            try cluster.moveOffice(to: originals[0])
            let (leader, third, former) = (originals[0], originals[1], originals[2])
            former.kill()
            try cluster.add(former, at: replication[3])
            let replacement = node(3, label: "node3", "-join", "replacement")
            defer { replacement.kill() }
            try replacement.start()
            try replacement.waitUntilReady()
            third.kill()
            let term = try Self.term(of: leader)

            try former.start()
            try Self.waitUntilRefused(former)
            let load = try Self.writes(at: leader, for: 3)
            #expect(load.bad.isEmpty && load.good > 0, "\(load.bad.count) failed: \(load.bad.first ?? "")")
            #expect(try Self.term(of: leader) == term)
            #expect(replacement.readiness()?.status == 200)
            print("\(load.good) writes beside the replaced machine, \(load.bad.count) failed")
        }

        /// A copy of a follower's directories, put back later: the node stops, and both sides say why.
        @Test func olderCopyStopsTheNode() throws {
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            let leader = try cluster.waitForLeader()
            let node = cluster.nodes.first { $0 !== leader }!
            for one in cluster.nodes { try one.waitUntilReady() }
            let filling = Filling(cluster)
            try filling.write(0, keys: 20)
            node.signal(SIGTERM)
            #expect(try node.waitForExit(within: 10) == .code(0))
            try Self.copy(node, to: "copy")
            try node.start()
            try node.waitUntilReady()
            try filling.write(1, keys: 20)
            // What it has not acknowledged it cannot lose.
            _ = try poll(within: 10, for: "its acknowledgement of all of it") {
                let status = leader.status()
                let match = status?.members?.first { $0.nodeId == node.label }?.matchIndex
                return match == status?.lastIndex && match != nil ? true : nil
            }
            node.signal(SIGTERM)
            #expect(try node.waitForExit(within: 10) == .code(0))
            let term = try Self.term(of: leader)

            node.wipe()
            Self.putBack(node, from: "copy")
            try node.start()
            #expect(try node.waitForExit(within: 10) == .code(1))
            #expect(
                node.log.contains("vikdb: ") && node.log.contains("its directories are an older copy"), "\(node.log)")
            #expect(leader.log.contains("a member has lost entries that it had acknowledged"), "\(leader.log)")
            // So it goes however often it is started.
            try node.start()
            #expect(try node.waitForExit(within: 10) == .code(1))
            let load = try Self.writes(at: leader, for: 0.5)
            #expect(load.bad.isEmpty && load.good > 0)
            #expect(try Self.term(of: leader) == term)

            node.wipe()
            try node.start()
            try node.waitUntilReady()
            try cluster.expectEqual(filling.contents, only: "fill")
        }

        /// Acknowledged writes are lost for good, because one of the two that had them was put back to an older copy while
        /// the other was away. That one holds the only copy: it must neither serve nor overwrite it.
        @Test func holderOfLostWritesStops() throws {
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            for one in cluster.nodes { try one.waitUntilReady() }
            let (holder, restored, third) = (cluster.nodes[0], cluster.nodes[1], cluster.nodes[2])
            let filling = Filling(cluster)
            try filling.write(0, keys: 5)
            restored.signal(SIGTERM)
            #expect(try restored.waitForExit(within: 10) == .code(0))
            try Self.copy(restored, to: "copy")
            try restored.start()
            try restored.waitUntilReady()
            // In a term that the third has seen: the next leader's is a later one.
            try cluster.moveOffice(to: restored)
            for one in cluster.nodes { try one.waitUntilReady() }
            third.kill()
            // Only those two have it.
            let answer = try restored.client().request(
                "PUT", "/kv/\("lost".pathKey)", body: #"{"value":"bG9zdA=="}"#)
            try #require(answer.status == 200, "\(answer.text)")
            _ = try poll(within: 10, for: "the write at the holder") {
                try? holder.client().request("GET", "/kv/\("lost".pathKey)").status == 200 ? true : nil
            }
            holder.signal(SIGTERM)
            #expect(try holder.waitForExit(within: 10) == .code(0))
            restored.kill()
            restored.wipe()
            Self.putBack(restored, from: "copy")
            try restored.start()
            try third.start()
            let leader = try cluster.waitForLeader(among: [restored, third])
            try leader.waitUntilReady()
            _ = try Self.writes(at: leader, for: 0.2)

            try holder.start()
            let client = holder.client(timeout: 1)
            _ = try poll(within: 20, everyMilliseconds: 1, for: "the holder's end; its log:\n\(holder.log)") {
                if let read = try? client.request("GET", "/kv/\("lost".pathKey)") {
                    try #require(read.status != 200, "what the leader does not have: \(read.text)")
                }
                return (try? holder.waitForExit(within: 0.001))
            }
            #expect(try holder.waitForExit(within: 1) == .code(1))
            #expect(holder.log.contains("a majority has lost acknowledged writes"), "\(holder.log)")
            #expect(holder.log.contains("Keep these directories"))
            #expect(leader.log.contains("a member holds a committed entry that this leader lacks"), "\(leader.log)")
            #expect(try Self.writes(at: leader, for: 0.3).bad.isEmpty)
        }
    }
}
