import ArgumentParser
import Glibc
import Logging
import Synchronization
import VikDB
import VikWire

/// `vikdb`: reads its flags, runs one node until a signal or a failure ends it.
@main
enum Program {
    static let version = "0.1.0"

    static func main() {
        let flags = readFlags()
        if flags.version {
            print("vikdb \(version)")
            return
        }
        let signals = EndingSignals()
        let logger = Logger(label: "vikdb", factory: { _ in LineLogHandler(level: flags.logLevel) })
        let node: Node
        do throws(StartError) {
            var settings = try flags.settings()
            settings.gateway.maxConnections = try DescriptorLimit.raised().connections(
                wanted: flags.maxConnections, logger: logger)
            node = try Node.start(settings, logger: logger)
        } catch {
            refuse("\(error)", status: error.exitStatus)
        }
        announce(node, flags, logger)

        let ending = Mutex(Ending())
        node.onEnd { error in
            guard let error else { return }
            ending.withLock { ending in
                ending.failure = error
                // Once the node is stopping, nobody waits for a signal any more, and one would kill the process.
                if !ending.isStopping { signals.end() }
            }
        }
        let signal = signals.wait()
        exitIfFailed(
            ending.withLock { ending in
                ending.isStopping = true
                return ending.failure
            })
        signals.restoreDefaults()
        logger.notice("stopping", metadata: ["signal": "\(signal)"])
        node.stop()
        exitIfFailed(ending.withLock { $0.failure })
        logger.notice("stopped")
    }

    private struct Ending {
        var isStopping = false
        var failure: StorageError?
    }

    private static func exitIfFailed(_ failure: StorageError?) {
        if let failure { refuse("\(failure)", status: EXIT_FAILURE) }
    }

    private static func readFlags() -> Flags {
        do {
            return try Flags.parse(CommandLine.arguments.dropFirst().map { $0 == "-h" ? "-help" : $0 })
        } catch {
            if Flags.exitCode(for: error).isSuccess { Flags.exit(withError: error) }
            refuse("\(Flags.message(for: error)) (vikdb -help lists the flags)", status: EX_USAGE)
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
        StandardError.write(line: "vikdb: \(sentence)")
        exit(status)
    }
}

extension StartError {
    fileprivate var exitStatus: Int32 {
        switch self {
        case .flags: EX_USAGE
        case .storage, .listen, .descriptors: EXIT_FAILURE
        }
    }
}
