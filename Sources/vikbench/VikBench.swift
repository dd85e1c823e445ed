import ArgumentParser
import Glibc
import VikWire

/// The program: `vikbench storage …` is one command, everything else the other.
@main
enum Main {
    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        if arguments.first == "storage" {
            run(StorageCommand.self, Array(arguments.dropFirst()))
        } else {
            run(VikBench.self, Array(arguments))
        }
    }

    private static func run<Command: ParsableCommand>(_ type: Command.Type, _ arguments: [String]) {
        do {
            var command = try Command.parse(arguments)
            try command.run()
        } catch {
            let code = Command.exitCode(for: error)
            if code.isSuccess { Command.exit(withError: error) }
            let program = Command.configuration.commandName ?? "vikbench"
            let help = code == .validationFailure ? " (\(program) --help lists the flags)" : ""
            StandardError.write(line: "vikbench: \(Command.message(for: error))\(help)")
            Glibc.exit(code.rawValue)
        }
    }
}

/// Whether a flag's value is within its limits.
func check(_ flag: String, _ value: Int, _ range: ClosedRange<Int>) throws {
    if range.contains(value) { return }
    throw ValidationError("\(flag) is \(value), expected \(range.lowerBound) to \(range.upperBound)")
}

/// `vikbench`: reads its flags, runs one benchmark, prints its report.
struct VikBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vikbench",
        abstract: "Measures the commits of a VikDB cluster, and reads every acknowledged key back.",
        discussion: """
            Starts the nodes in its own process, with TCP between them and real files, and lets clients put values \
            directly at the leader, in a closed loop or at a fixed rate. With --target it drives a running cluster \
            through its HTTP API instead. docs/benchmarking.md defines every figure. Log and engine alone are \
            measured by vikbench storage, which has flags of its own: see vikbench storage --help.
            """)

    @Option(help: ArgumentHelp("Nodes to start in this process (default: 3).", valueName: "count"))
    var nodes: Int?
    @Option(help: ArgumentHelp("Puts in each measured run.", valueName: "count"))
    var ops = 100_000
    @Option(help: ArgumentHelp("Clients: each has one put under way at most.", valueName: "count"))
    var clients = 64
    @Option(
        help: ArgumentHelp(
            "Puts a second of an open loop (default: a closed loop, in which a client's next put follows on its last).",
            valueName: "count"))
    var rate: Int?
    @Option(help: ArgumentHelp("Bytes of each value.", valueName: "bytes"))
    var valueSize = 256
    @Option(help: ArgumentHelp("Keys that the puts go around.", valueName: "count"))
    var keys = 100_000
    @Option(help: ArgumentHelp("Seed of keys and values (default: random, printed).", valueName: "number"))
    var seed: UInt64?
    @Option(help: ArgumentHelp("Puts to warm up with, not measured (default: a tenth of --ops).", valueName: "count"))
    var warmup: Int?
    @Option(help: ArgumentHelp("Measured runs; the report has median, lowest and highest.", valueName: "count"))
    var runs = 1
    @Option(help: ArgumentHelp("Also write the report to this file.", valueName: "file"))
    var json: String?
    @Option(help: ArgumentHelp("Where the nodes keep their files (default: $TMPDIR or /tmp).", valueName: "dir"))
    var dir: String?
    @Option(help: ArgumentHelp("APIs of a running cluster: http://host:port,…", valueName: "urls"))
    var target: String?

    mutating func run() throws {
        let plan = try plan()
        let output = try json.map { path in try JSONFile(path: path) }
        let report = try measure(plan)
        print(report.text, terminator: "")
        try output?.write(report)
        if !report.isVerified { throw ExitCode.failure }
    }

    private func measure(_ plan: Plan) throws -> Report {
        defer { Progress.clear() }
        switch plan.subject {
        case .nodes(let count): return try Benchmark.inProcess(plan, nodes: count, parent: dir)
        case .targets(let addresses): return try Benchmark.overHTTP(plan, targets: addresses)
        }
    }

    private func plan() throws -> Plan {
        let warmup = warmup ?? ops / 10
        try check("--ops", ops, 1...Plan.maxOperations)
        try check("--clients", clients, 1...Plan.maxClients)
        try check("--value-size", valueSize, Workload.stampBytes...WireLimits.maxValueBytes)
        try check("--keys", keys, 1...Plan.maxKeys)
        try check("--warmup", warmup, 0...Plan.maxOperations)
        try check("--runs", runs, 1...Plan.maxRuns)
        if let rate { try check("--rate", rate, 1...Plan.maxRate) }
        if let nodes { try check("--nodes", nodes, 1...WireLimits.maxMembers) }
        guard keys >= clients else {
            throw ValidationError("--keys is \(keys), expected at least one for each of the \(clients) clients")
        }
        return Plan(
            subject: try subject(), operations: ops, warmup: warmup, runs: runs, clients: clients, rate: rate,
            keys: keys, valueSize: valueSize, seed: seed ?? UInt64(UInt32.random(in: 1 ... .max)))
    }

    private func subject() throws -> Plan.Subject {
        guard let target else { return .nodes(nodes ?? 3) }
        guard nodes == nil else {
            throw ValidationError("--nodes starts nodes and --target drives running ones: give one of the two")
        }
        guard dir == nil else { throw ValidationError("--dir is for nodes started here, it has no use with --target") }
        let urls = target.split(separator: ",", omittingEmptySubsequences: false)
        guard urls.count <= WireLimits.maxMembers else {
            throw ValidationError("--target has \(urls.count) addresses, expected 1 to \(WireLimits.maxMembers)")
        }
        return .targets(
            try urls.map { url in
                var address = url
                if address.hasPrefix("http://") { address = address.dropFirst("http://".count) }
                if address.hasSuffix("/") { address = address.dropLast() }
                do throws(WireError) {
                    return try HostPort.parse(String(address))
                } catch {
                    throw ValidationError("--target has \"\(url)\", expected addresses like http://host:port")
                }
            })
    }
}
