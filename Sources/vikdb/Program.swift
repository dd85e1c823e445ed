import ArgumentParser
import Glibc
import Logging
import Synchronization
import VikDB
import VikWire

/// `vikdb`: reads its flags, runs one node until a signal or a failure ends it; or looks into the files of one that is
/// stopped.
@main
enum Program {
    static let version = "0.1.0"

    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        switch arguments.first {
        case "check": StandardError.end(status: read(CheckCommand.self, arguments.dropFirst()).check())
        case "dump": StandardError.end(status: read(DumpCommand.self, arguments.dropFirst()).dump())
        default: runNode(read(Flags.self, arguments))
        }
    }

    private static func runNode(_ flags: Flags) {
        if flags.version {
            print("vikdb \(version)")
            return
        }
        let signals = EndingSignals()
        let logger = Logger(label: "vikdb", factory: { _ in LineLogHandler(level: flags.logLevel) })
        let started: Node?
        do throws(StartError) {
            var settings = try flags.settings(logger)
            settings.gateway.maxConnections = try DescriptorLimit.raised().connections(
                wanted: flags.maxConnections, httpThreads: flags.httpThreads, logger: logger)
            started = try start(settings, signals, logger)
        } catch {
            refuse("\(error)", status: error.exitStatus)
        }
        guard let node = started else { StandardError.end(status: EXIT_SUCCESS) }
        announce(node, flags, logger)
        StandardError.drain()

        let ending = Mutex(Ending())
        node.onEnd { error in
            guard let error else { return }
            ending.withLock { ending in
                ending.failure = error
                // Once the node is stopping, nobody waits for a signal any more, and one would kill the process.
                if !ending.isStopping { signals.end() }
            }
        }
        let signal = signals.wait(logger)
        exitIfFailed(
            ending.withLock { ending in
                ending.isStopping = true
                return ending.failure
            })
        signals.restoreDefaults()
        logger.notice("stopping", metadata: ["signal": "\(signal)"])
        let unfinished = node.stop()
        exitIfFailed(ending.withLock { $0.failure })
        guard unfinished.isEmpty else {
            refuse("stopped without waiting for \(unfinished.joined(separator: ", "))", status: EXIT_FAILURE)
        }
        logger.notice("stopped")
        StandardError.end(status: EXIT_SUCCESS)
    }

    /// Nil: a signal came while the node waited to become a member of a cluster.
    private static func start(
        _ settings: NodeSettings, _ signals: EndingSignals, _ logger: Logger
    ) throws(StartError) -> Node? {
        let stores = try signals.endingWhile { () throws(StartError) in
            try OpenedStores.open(settings, logger: logger)
        }
        var joined: JoinedMember?
        if let request = try stores.joinRequest(settings) {
            joined = join(settings, request, signals, logger)
            if joined == nil { return nil }
        }
        return try signals.endingWhile { () throws(StartError) in
            try Node.start(settings, stores: stores, joined: joined, logger: logger)
        }
    }

    /// Asks the cluster who this node is, for as long as no signal comes.
    private static func join(
        _ settings: NodeSettings, _ request: JoinRequest, _ signals: EndingSignals, _ logger: Logger
    ) -> JoinedMember? {
        guard let replication = settings.replication, case .joining(let join) = replication.start else {
            preconditionFailure("only a node with -join asks who it is")
        }
        var options = TransportOptions(seed: .random(in: .min ... .max))
        options.secret = replication.secret
        let answer = Mutex<JoinedMember?>(nil)
        let joining = Joining(join, request, options: options, logger: logger) { joined in
            answer.withLock { $0 = joined }
            signals.end()
        }
        let signal = signals.wait(logger)
        joining.stop()
        // A signal that came together with the answer is still pending, and ends the node once it is started.
        let joined = answer.withLock { $0 }
        if let joined {
            logger.notice("the cluster knows this node", metadata: ["member": "\(joined.id)"])
        } else {
            logger.notice("stopped before the node was a member", metadata: ["signal": "\(signal)"])
        }
        return joined
    }

    private struct Ending {
        var isStopping = false
        var failure: StorageError?
    }

    private static func exitIfFailed(_ failure: StorageError?) {
        if let failure { refuse("\(failure)", status: EXIT_FAILURE) }
    }

    private static func read<Command: ParsableCommand>(
        _ command: Command.Type, _ arguments: ArraySlice<String>
    ) -> Command {
        do {
            return try Command.parse(arguments.map { $0 == "-h" ? "-help" : $0 })
        } catch {
            if Command.exitCode(for: error).isSuccess { Command.exit(withError: error) }
            let name = Command.configuration.commandName ?? "vikdb"
            refuse("\(Command.message(for: error)) (\(name) -help lists the flags)", status: EX_USAGE)
        }
    }

    private static func announce(_ node: Node, _ flags: Flags, _ logger: Logger) {
        if node.identity.isReplicated {
            logger.notice(
                "Cluster mode enabled",
                metadata: ["node_id": "\(node.identity.label)", "replication": "\(node.identity.address)"])
        }
        logger.notice(
            "API listening", metadata: ["addr": "\(flags.addr)", "port": "\(node.apiPort ?? flags.addr.port)"])
    }

    private static func refuse(_ sentence: String, status: Int32) -> Never {
        StandardError.end("vikdb: \(sentence)", status: status)
    }
}

extension StartError {
    fileprivate var exitStatus: Int32 {
        switch self {
        case .flags: EX_USAGE
        case .storage, .full, .listen, .descriptors: EXIT_FAILURE
        }
    }
}
