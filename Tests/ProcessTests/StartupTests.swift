import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// What does not start says why in one sentence and ends with 64 for a wrong flag, 1 for anything else.
    @Suite struct StartupTests {
        @Test(arguments: [
            (["-node-id", "a"], "-cluster"),
            (["-cluster", "localhost:8081"], "-node-id"),
            (["-no-such-flag"], "-no-such-flag"),
            (["stray"], "stray"),
            (["-addr", "nonsense"], "-addr"),
            (["-memtable-max-size", "65535"], "65536"),
            (["-heartbeat", "55"], "steps of 10"),
            (["-election-timeout", "60-90"], "-heartbeat"),
            (["-read-consistency", "eventual"], "linearizable"),
            (["-node-id", "a", "-cluster", "localhost:8081,localhost:8081"], "twice"),
            (["-node-id", "a", "-cluster", "localhost:9001", "-replication-port", "9002"], "-replication-port"),
            (["-node-id", "a", "-cluster", "192.0.2.1:9001", "-replication-port", "9001"], "-advertise-replication"),
            (
                ["-node-id", "a", "-cluster", "localhost:9001", "-bootstrap-without", "localhost:1"],
                "-bootstrap-without"
            ),
            (["-node-id", "a", "-cluster", "localhost:8081,LocalHost.:8081"], "twice"),
            (["-node-id", "a", "-cluster", "0.0.0.0:8081"], "all interfaces"),
            (["-advertise-addr", "[::]:8080"], "all interfaces"),
            (["-node-id", "a", "-cluster", "localhost:8081", "-join", "localhost:8081"], "both given"),
            (["-join", "localhost:8081"], "-node-id"),
            (["-node-id", "a", "-join", "localhost"], "host:port"),
            (["-node-id", "a", "-join", "localhost:8081", "-bootstrap-without", "localhost:1"], "needs -cluster"),
            (["-cluster-secret-file", "/none"], "-cluster-secret-file needs"),
            (["-advertise-replication", "localhost:8081"], "-advertise-replication needs"),
            (["-node-id", "a", "-cluster", "localhost:8081", "-cluster-secret-file", "/none"], "/none: No such file"),
            (["-node-id", "a", "-cluster", "localhost:8081", "-cluster-secret-file", "/tmp"], "/tmp: Is a directory"),
        ])
        func wrongFlags(flags: [String], named: String) throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let run = try Finished(
                Program.vikdb,
                ["-wal-path", directory.path + "/wal", "-sstable-dir", directory.path + "/tables"] + flags, within: 10)
            expectRefused(run, with: 64, naming: named)
        }

        @Test(arguments: ["-version", "--version", "-help", "--help", "-h"])
        func informationIsNoError(flag: String) throws {
            let run = try Finished(Program.vikdb, [flag], within: 10)
            #expect(run.exit == .code(0))
            #expect(run.output.contains("vikdb"))
            #expect(run.errors.isEmpty)
        }

        @Test func lockedDirectory() throws {
            let node = try SingleNode()
            defer { extendLifetime(node) }
            let run = try Finished(
                Program.vikdb,
                [
                    "-addr", "127.0.0.1:\(Ports.take())", "-wal-path", node.process.directory + "/wal",
                    "-sstable-dir", node.process.directory + "/sstables",
                ], within: 10)
            expectRefused(run, with: 1, naming: "locked")
        }

        @Test func portInUse() throws {
            let node = try SingleNode()
            defer { extendLifetime(node) }
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let address = "127.0.0.1:\(node.process.apiPort)"
            let run = try Finished(
                Program.vikdb,
                ["-addr", address, "-wal-path", directory.path + "/wal", "-sstable-dir", directory.path + "/tables"],
                within: 10)
            expectRefused(run, with: 1, naming: address)
        }

        @Test func replicationPortInUse() throws {
            let node = try SingleNode()
            defer { extendLifetime(node) }
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let port = "\(node.process.apiPort)"
            let run = try Finished(
                Program.vikdb,
                [
                    "-addr", "127.0.0.1:\(Ports.take())", "-node-id", "a", "-cluster", "127.0.0.1:\(port)",
                    "-replication-port", port, "-wal-path", directory.path + "/wal",
                    "-sstable-dir", directory.path + "/tables",
                ], within: 10)
            expectRefused(run, with: 1, naming: port)
        }

        /// A directory that cannot be made, and the two halves of different stores.
        @Test func wrongDirectories() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            TextFile.write("a file", to: directory.path + "/file")
            let inFile = try Finished(
                Program.vikdb,
                [
                    "-addr", "127.0.0.1:\(Ports.take())", "-wal-path", directory.path + "/file/wal",
                    "-sstable-dir", directory.path + "/tables",
                ], within: 10)
            expectRefused(inFile, with: 1, naming: directory.path + "/file")

            let one = try SingleNode()
            defer { extendLifetime(one) }
            let other = try SingleNode()
            defer { extendLifetime(other) }
            try one.stop()
            try other.stop()
            let mixed = try Finished(
                Program.vikdb,
                [
                    "-addr", "127.0.0.1:\(Ports.take())", "-wal-path", one.process.directory + "/wal",
                    "-sstable-dir", other.process.directory + "/sstables",
                ], within: 10)
            expectRefused(mixed, with: 1, naming: one.process.directory + "/wal")
            #expect(mixed.errors.contains(other.process.directory + "/sstables"))
        }

        /// Directories may be links, or lie under some: at the first start, at the next one, and for a check.
        @Test func linkedDirectories() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            for name in ["disk1", "disk2"] { #expect(mkdir("\(directory.path)/\(name)", 0o700) == 0) }
            let node = NodeProcess(
                label: "node", apiPort: Ports.take(), directory: directory.path + "/node", flags: [])
            defer { node.kill() }
            #expect(mkdir(node.directory, 0o700) == 0)
            #expect(symlink(directory.path + "/disk1", node.directory + "/wal") == 0)
            #expect(symlink("../disk2", node.directory + "/tables") == 0)
            #expect(symlink("tables/below", node.directory + "/sstables") == 0)
            #expect(mkdir(directory.path + "/disk2/below", 0o700) == 0)
            for round in 0..<2 {
                try node.start()
                try node.waitUntilReady()
                let put = try node.client().request("PUT", "/kv/\("\(round)".pathKey)", body: #"{"value":"eA=="}"#)
                #expect(put.status == 200)
                #expect(try node.client().request("GET", "/kv/\("0".pathKey)").status == 200)
                node.signal(SIGTERM)
                #expect(try node.waitForExit(within: 10) == .code(0))
            }
            for directories in [[node.directory], [node.directory + "/wal", node.directory + "/sstables/"]] {
                let check = try Finished(Program.vikdb, ["check"] + directories, within: 10)
                #expect(check.exit == .code(0), "\(check.errors)\(check.output)")
            }
            let dump = try Finished(Program.vikdb, ["dump", node.directory + "/wal/hard-state"], within: 10)
            #expect(dump.exit == .code(0))
        }

        /// It is nobody else's lock that is in the way.
        @Test func oneDirectoryByTwoNames() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            #expect(symlink(directory.path, directory.path + "/link") == 0)
            for (log, tables) in [("x", "./x"), ("x", "x/"), ("link/x", "x"), ("x/y/z", "link/x/./y//z")] {
                let run = try Finished(
                    Program.vikdb,
                    [
                        "-addr", "127.0.0.1:\(Ports.take())", "-wal-path", "\(directory.path)/\(log)", "-sstable-dir",
                        "\(directory.path)/\(tables)",
                    ], within: 10)
                expectRefused(run, with: 64, naming: "are the same directory: they must be two")
            }
            #expect(access(directory.path + "/x", F_OK) != 0, "nothing is created")
        }

        @Test(.enabled(if: NetworkNamespaces.isWanted, "mounting a file system needs root"))
        func fullDisk() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let run = try Finished(
                "/usr/bin/env",
                [
                    "unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
                    "mount -t tmpfs -o size=300k none \"$0\" && exec \"$@\"", directory.path, Program.vikdb, "-addr",
                    "127.0.0.1:\(Ports.take())", "-wal-path", directory.path + "/wal", "-sstable-dir",
                    directory.path + "/tables",
                ], within: 20)
            expectRefused(run, with: 1, naming: "no space left on the device of \(directory.path)/")
            #expect(run.errors.contains("bytes are free: free ") && run.errors.contains("remove nothing in -wal-path"))
        }

        @Test func tooFewDescriptors() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let run = try Finished(
                "/bin/sh",
                [
                    "-c", "ulimit -n 575 && exec \"$@\"", "sh", Program.vikdb, "-addr", "127.0.0.1:\(Ports.take())",
                    "-wal-path", directory.path + "/wal", "-sstable-dir", directory.path + "/tables",
                ], within: 10)
            expectRefused(run, with: 1, naming: "575 file descriptors")
            #expect(run.errors.contains("576"))
        }

        /// Systems start programs with few file descriptors, which programs may raise to a higher limit.
        @Test func raisesTheLimitOfDescriptors() throws {
            let node = try SingleNode(after: "ulimit -S -n 300")
            defer { extendLifetime(node) }
            let id = try #require(node.process.processID)
            let limits = TextFile.read("/proc/\(id)/limits")
            let line = try #require(limits.split(separator: "\n").first { $0.hasPrefix("Max open files") })
            let numbers = line.split(separator: " ").compactMap { Int($0) }
            #expect(numbers.count == 2 && numbers[0] == numbers[1] && numbers[0] > 300, "\(line)")
        }

        /// A member's directories under another member's flags.
        @Test func foreignStore() throws {
            let cluster = ClusterProcess(nodes: 2)
            defer { extendLifetime(cluster) }
            try cluster.start()
            for node in cluster.nodes { node.kill() }
            let first = cluster.nodes[0].directory
            let second = cluster.nodes[1].directory
            #expect(rename(first + "/wal", first + "/own-wal") == 0)
            #expect(rename(first + "/sstables", first + "/own-sstables") == 0)
            #expect(rename(second + "/wal", first + "/wal") == 0)
            #expect(rename(second + "/sstables", first + "/sstables") == 0)
            try cluster.nodes[0].start()
            #expect(try cluster.nodes[0].waitForExit(within: 10) == .code(64))
            #expect(cluster.nodes[0].log.contains("belong to the member"))
        }

        private func expectRefused(_ run: Finished, with status: Int32, naming text: String) {
            #expect(run.exit == .code(status), "\(run.errors)")
            let lines = run.errors.split(separator: "\n")
            #expect(lines.count == 1, "\(run.errors)")
            #expect(run.errors.contains(text), "\(run.errors)")
            #expect(run.output.isEmpty)
        }
    }
}
