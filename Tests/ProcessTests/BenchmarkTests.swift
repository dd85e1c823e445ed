import Foundation
import Testing

extension ProcessTests {
    @Suite struct BenchmarkTests {
        private struct Figures: Decodable {
            let verified: Bool
            let verifiedKeys: Int
            let commitsPerSecond: Double

            init(json path: String) throws {
                let decoder = JSONDecoder()
                decoder.keyDecodingStrategy = .convertFromSnakeCase
                self = try decoder.decode(Figures.self, from: Data(TextFile.bytes(path)))
            }
        }

        /// A short run: it must verify what it wrote and say so, for people and for programs.
        @Test func benchmarkVerifiesWhatItWrote() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let json = directory.path + "/report.json"
            let run = try Finished(
                Program.vikbench,
                ["--nodes", "3", "--ops", "2000", "--dir", directory.path, "--json", json], within: 60)
            #expect(run.exit == .code(0), "\(run.errors)")
            #expect(run.output.contains("commits/s"))
            #expect(run.output.contains("verified: all"))
            let figures = try Figures(json: json)
            #expect(figures.verified)
            #expect(figures.verifiedKeys > 0)
        }

        /// An open loop comes no faster than it is told, whatever the cluster could do.
        @Test func openLoopKeepsItsRate() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let json = directory.path + "/report.json"
            let run = try Finished(
                Program.vikbench,
                ["--nodes", "1", "--ops", "600", "--rate", "500", "--dir", directory.path, "--json", json], within: 60)
            #expect(run.exit == .code(0), "\(run.errors)")
            #expect(run.output.contains("open loop of 500 puts/s"))
            let figures = try Figures(json: json)
            #expect(figures.commitsPerSecond <= 501)
        }

        /// The same against nodes that run already, through their API.
        @Test func benchmarkDrivesARunningCluster() throws {
            let cluster = ClusterProcess()
            defer { extendLifetime(cluster) }
            try cluster.start()
            // The leader comes last, so that the first puts are redirected: that is no failure.
            let leader = try cluster.waitForLeader()
            let nodes = cluster.nodes.filter { $0 !== leader } + [leader]
            let targets = nodes.map { "http://\($0.host):\($0.apiPort)" }.joined(separator: ",")
            let run = try Finished(
                Program.vikbench, ["--target", targets, "--ops", "1000", "--clients", "8", "--keys", "500"], within: 60)
            #expect(run.exit == .code(0), "\(run.errors)")
            #expect(run.output.contains("verified: all"))
            #expect(!run.output.contains("failed puts"))
        }

        @Test func wrongFlagIsOneSentence() throws {
            let run = try Finished(Program.vikbench, ["--nodes", "0"], within: 10)
            #expect(run.exit == .code(64))
            #expect(run.errors.contains("--nodes"))
            #expect(run.errors.split(separator: "\n").count == 1)
        }
    }
}
