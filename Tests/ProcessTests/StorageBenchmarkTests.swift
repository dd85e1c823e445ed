import Foundation
import Testing

extension ProcessTests {
    /// `vikbench storage`: that its workloads do what their names promise, shown by what later ones find.
    @Suite struct StorageBenchmarkTests {
        private struct Report: Decodable {
            struct Amplification: Decodable {
                let log: Double
                let tables: Double
                let total: Double
            }

            struct Held: Decodable {
                let slowed: Double
                let stalled: Double
            }

            struct Latency: Decodable {
                let p50: Double
                let max: Double
            }

            struct Figures: Decodable {
                let workload: String
                let operations: Int
                let seconds: Double
                let opsPerSecond: Double
                let mbPerSecond: Double
                let found: Int?
                let keys: Int?
                let latencyUs: Latency?
                let heldBackSeconds: Held?
                let writeAmplification: Amplification?
                let spaceAmplification: Amplification?
            }

            struct Settings: Decodable {
                let compression: String
            }

            let settings: Settings
            let workloads: [Figures]
            let peakMemoryBytes: Int
        }

        /// The figures in the JSON file, after a look at the lines for people.
        private func figures(_ workloads: String, _ flags: [String], in directory: String) throws -> [Report.Figures] {
            let json = directory + "/report.json"
            let run = try Finished(Program.vikbench, ["storage", workloads, "--json", json] + flags, within: 120)
            try #require(run.exit == .code(0), "\(run.errors)")
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            let report = try decoder.decode(Report.self, from: Data(TextFile.bytes(json)))
            let compression = flags.contains("zlib") ? "zlib" : "none"
            #expect(report.settings.compression == compression && run.output.contains(", compression \(compression),"))
            let mebibytes = report.peakMemoryBytes >> 20
            #expect(mebibytes > 1 && run.output.hasSuffix("memory of the process, at most: \(mebibytes) MiB\n"))
            let figures = report.workloads
            #expect(figures.map(\.workload).joined(separator: ",") == workloads)
            let line = /(\w+) *: +[\d.]+ micros\/op (\d+) ops\/sec [\d.]+ seconds (\d+) operations;( .*)?/
            let lines = run.output.split(separator: "\n").compactMap { $0.wholeMatch(of: line) }
            #expect(lines.map { String($0.1) } == figures.map(\.workload))
            #expect(lines.map { Int($0.2) } == figures.map { Int($0.opsPerSecond) })
            #expect(lines.map { Int($0.3) } == figures.map(\.operations))
            for (line, figures) in zip(lines, figures) {
                if let found = figures.found {
                    #expect(line.4?.contains("(\(found) of \(figures.operations) found)") == true)
                }
            }
            return figures
        }

        @Test func readsFindWhatWasFilledInOrder() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let figures = try figures(
                "fillseq,readseq,readrandom,readmissing,seekrandom,overwrite,readreverse,readwhilewriting",
                ["--num", "3000", "--dir", directory.path, "--seek-nexts", "10"], in: directory.path)
            #expect(figures.allSatisfy { $0.operations == 3_000 })
            #expect(figures.map(\.found) == [nil, nil, 3_000, 0, 3_000, nil, nil, 3_000])
            #expect(figures.allSatisfy { ($0.mbPerSecond > 0) == ($0.workload != "readmissing") })
            #expect(figures.allSatisfy { $0.latencyUs.map { $0.p50 > 0 && $0.p50 <= $0.max } == true })
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["report.json"])
        }

        /// Of n keys, n puts at random miss one in e; so do n deletes of the rest.
        @Test func randomWorkloadsAreRandom() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let figures = try figures(
                "fillrandom,readseq,readrandom,deleterandom,readseq,readrandom",
                ["--num", "10000", "--dir", directory.path, "--no-histogram", "--seed", "7"], in: directory.path)
            let (filled, found) = (figures[1].operations, try #require(figures[2].found))
            #expect((6_100...6_500).contains(filled) && (6_100...6_500).contains(found))
            let (left, foundThen) = (figures[4].operations, try #require(figures[5].found))
            #expect((2_100...2_500).contains(left) && (2_100...2_500).contains(foundThen))
            #expect(figures.allSatisfy { $0.latencyUs == nil })
        }

        @Test func storeInADirectoryIsThereForTheNextRun() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let flags = ["--db", directory.path + "/store"]
            _ = try figures("fillseq", flags + ["--num", "2000"], in: directory.path)
            let later = try figures("readrandom,readseq", flags + ["--num", "2000"], in: directory.path)
            #expect(later[0].found == 2_000 && later[1].operations == 2_000)
            // What fills starts afresh.
            let anew = try figures("fillseq,readseq", flags + ["--num", "100", "--reads", "2000"], in: directory.path)
            #expect(anew[1].operations == 100)
        }

        /// The first keys get long values, so that the bytes tell which keys were read.
        @Test func readreverseBeginsWithTheLastKey() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let flags = ["--db", directory.path + "/store", "--reads", "50"]
            _ = try figures("fillseq", flags + ["--num", "1000", "--value-size", "10"], in: directory.path)
            _ = try figures("overwrite", flags + ["--num", "100", "--value-size", "1000"], in: directory.path)
            let read = try figures("readreverse,readseq", flags + ["--num", "1000"], in: directory.path)
            let bytes = read.map { Int(($0.mbPerSecond * $0.seconds * 1_048_576).rounded()) }
            #expect(read.map(\.operations) == [50, 50])
            #expect(bytes[0] == 50 * (16 + 10) && bytes[1] > 20 * (16 + 1_000))
            let all = try figures("readreverse", flags.dropLast(2) + ["--num", "2000"], in: directory.path)
            #expect(all[0].operations == 1_000)
        }

        /// The values compress to about half.
        @Test func tablesAreCompressedIfAskedFor() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let flags = ["--num", "5000", "--memtable-size", "200000", "--dir", directory.path]
            let plain = try figures("fillseq,readseq", flags, in: directory.path)
            let zlib = try figures("fillseq,readseq", flags + ["--compression", "zlib"], in: directory.path)
            #expect(try #require(plain[0].spaceAmplification).tables > 0.8)
            #expect(try #require(zlib[0].spaceAmplification).tables < 0.7)
            #expect(zlib[1].operations == 5_000)
        }

        @Test func threadsWriteTogether() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let figures = try figures(
                "fillsync,fillrandom,readseq,readrandom",
                ["--num", "4000", "--writes", "500", "--threads", "4", "--dir", directory.path], in: directory.path)
            #expect(figures[0].operations == 2_000 && figures[0].keys == 4)
            #expect(figures[1].operations == 2_000)
            // Each of the four reads all there is: 4,000 keys less those that 2,000 puts missed.
            #expect((1_450...1_700).contains(figures[2].operations / 4))
            #expect(figures[3].operations == 16_000)
            #expect((5_800...6_800).contains(try #require(figures[3].found)))
        }

        /// Memtables become tables in the background, tables are merged, and the log drops what they hold.
        @Test func flushesAndMergesRunAndTheLogIsCut() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let figures = try figures(
                "fillrandom,readseq,readrandom",
                [
                    "--num", "20000", "--value-size", "10000", "--memtable-size", "4000000", "--cache-size", "1000000",
                    "--dir", directory.path,
                ], in: directory.path)
            let written = try #require(figures[0].writeAmplification)
            let size = try #require(figures[0].spaceAmplification)
            // All is written to the log once, and to tables more than once but for what a memtable still had.
            #expect(written.log > 1 && written.log < 1.1)
            #expect(written.tables > 1.2 && abs(written.log + written.tables - written.total) < 0.02)
            // 200 MB of log would be 1.6 times the data that is left.
            #expect(size.log < 1.2)
            #expect(size.tables > 0.9)
            #expect((12_300...13_000).contains(figures[1].operations))
            #expect((12_300...13_000).contains(try #require(figures[2].found)))
        }

        /// Memtables fill faster than they are flushed, and flushes go before merges.
        @Test func writersAreHeldBackWhileMergesAreBehind() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let flags = ["--num", "100000", "--memtable-size", "65536", "--dir", directory.path]
            let figures = try figures("fillrandom,readseq", flags, in: directory.path)
            let held = try #require(figures[0].heldBackSeconds)
            #expect(held.slowed > 0 && held.stalled > 0 && held.slowed + held.stalled < figures[0].seconds)
            #expect(figures[1].heldBackSeconds == nil)
        }

        @Test(arguments: [
            (["fill"], "\"fill\""), (["fillseq,"], "\"\""), ([], "workload"), (["fillseq", "--num", "0"], "--num"),
            (["fillseq", "--key-size", "7"], "--key-size"), (["fillseq", "--value-size", "1048577"], "--value-size"),
            (["fillseq", "--threads", "0"], "--threads"), (["fillseq", "--memtable-size", "65535"], "--memtable-size"),
            (["fillseq", "--reads", "0"], "--reads"), (["fillseq", "--writes", "x"], "--writes"),
            (["fillseq", "--seek-nexts", "-1"], "--seek-nexts"), (["fillseq", "--dir", "a", "--db", "b"], "--db"),
            (["fillseq", "--compression", "lz4"], "--compression"), (["fillseq", "--nodes", "3"], "--nodes"),
        ])
        func wrongFlagIsOneSentence(_ flags: [String], _ named: String) throws {
            let run = try Finished(Program.vikbench, ["storage"] + flags, within: 10)
            #expect(run.exit == .code(64))
            #expect(run.errors.contains(named), "\(run.errors)")
            #expect(run.errors.contains("vikbench storage --help"))
            #expect(run.errors.split(separator: "\n").count == 1)
        }
    }
}
