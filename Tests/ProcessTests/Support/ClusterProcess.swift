import Glibc
import Synchronization
import VikTestSupport

/// One `vikdb` that a test starts, kills and starts again with the same flags and directories. Any thread.
final class NodeProcess: Sendable {
    let label: String
    /// Where its API is reached: an IPv4 address.
    let host: String
    let apiPort: Int
    let directory: String
    private let command: [String]
    private let process = Mutex<ChildProcess?>(nil)

    /// - Parameter prefix: a program and its arguments that run the node's command, such as `ip netns exec`.
    init(
        label: String, host: String = "127.0.0.1", apiPort: Int, directory: String, prefix: [String] = [],
        flags: [String]
    ) {
        self.label = label
        self.host = host
        self.apiPort = apiPort
        self.directory = directory
        command =
            prefix + [
                Program.vikdb, "-wal-path", directory + "/wal", "-sstable-dir", directory + "/sstables",
                "-addr", "\(host):\(apiPort)",
            ] + flags
    }

    func start() throws {
        mkdir(directory, 0o700)
        let child = try ChildProcess(command[0], Array(command.dropFirst()), logs: directory + "/node")
        process.withLock { $0 = child }
    }

    /// SIGKILL, as a power cut would: returns once the process is gone.
    func kill() {
        process.withLock { $0?.kill() }
    }

    func signal(_ number: Int32) {
        process.withLock { $0?.signal(number) }
    }

    /// Loses its disk, as a machine that is replaced. The node does not run.
    func wipe() {
        for name in ["wal", "sstables"] { TemporaryDirectory.removeTree("\(directory)/\(name)") }
    }

    func waitForExit(within seconds: Double) throws -> ChildProcess.Exit {
        guard let process = process.withLock({ $0 }) else { throw TimedOut(description: "\(label) was never started") }
        return try process.wait(within: seconds)
    }

    /// What waits for a node need not wait on once it has ended.
    func requireRunning() throws {
        if let exit = process.withLock({ $0?.ended }) {
            throw TimedOut(description: "\(label) ended with \(exit); its log:\n\(log)")
        }
    }

    /// Of the process that was started last.
    var processID: pid_t? { process.withLock { $0?.id } }

    /// Everything that its runs have logged.
    var log: String { TextFile.read(directory + "/node.err") }

    func client(timeout: Int = 8) -> HTTPClient {
        HTTPClient(host: host, port: apiPort, timeout: timeout)
    }

    /// Nil while the API does not answer.
    func status() -> AnswerBody? {
        try? client(timeout: 2).request("GET", "/cluster/status").json()
    }

    func waitUntilServing(within seconds: Double = 20) throws {
        _ = try poll(within: seconds, for: "\(label) serving; its log:\n\(log)") {
            try requireRunning()
            return status()
        }
    }
}

/// Nodes that form one cluster on this machine, and the directory that they live in.
final class ClusterProcess: Sendable {
    let nodes: [NodeProcess]
    private let directory: TemporaryDirectory

    /// - Parameters:
    ///   - flags: beyond those that make a cluster.
    ///   - prefix: what the command begins with of a node that lives in a directory.
    init(nodes count: Int = 3, flags: [String] = [], prefix: (_ directory: String) -> [String] = { _ in [] }) {
        directory = TemporaryDirectory()
        let root = directory.path
        let ports = (0..<count).map { _ in (api: Ports.take(), replication: Ports.take()) }
        let cluster = ports.map { "127.0.0.1:\($0.replication)" }.joined(separator: ",")
        nodes = ports.enumerated().map { index, port in
            NodeProcess(
                label: "node\(index + 1)", apiPort: port.api, directory: root + "/node\(index + 1)",
                prefix: prefix(root + "/node\(index + 1)"),
                flags: [
                    "-node-id", "node\(index + 1)", "-cluster", cluster, "-replication-port", "\(port.replication)",
                ] + flags)
        }
    }

    /// Nodes made by the caller, which live in `directory`.
    init(_ nodes: [NodeProcess], in directory: TemporaryDirectory) {
        self.nodes = nodes
        self.directory = directory
    }

    deinit {
        for node in nodes { node.kill() }
    }

    func start() throws {
        for node in nodes { try node.start() }
        _ = try waitForLeader()
    }

    /// Some of the nodes agree on a leader that says it is one.
    func waitForLeader(among some: [NodeProcess]? = nil, within seconds: Double = 30) throws -> NodeProcess {
        let candidates = some ?? nodes
        do {
            return try poll(within: seconds, for: "a leader") {
                candidates.first { $0.status()?.isLeader == true }
            }
        } catch {
            let logs = candidates.map { "\($0.label):\n\($0.log)" }.joined(separator: "\n")
            throw TimedOut(description: "\(error)\n\(logs)")
        }
    }

    func node(atPort port: Int) -> NodeProcess? {
        nodes.first { $0.apiPort == port }
    }
}
