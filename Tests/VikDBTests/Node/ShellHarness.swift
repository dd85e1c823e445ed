import Logging
import NIOCore
import Synchronization
import VikDB
import VikTestSupport
import VikWire

/// The shell of a node alone, in the test's own thread: its jobs run when the test says so.
final class ShellHarness {
    let engine: Engine
    private let shell: NodeShell
    private let executor = HeldExecutor()
    private let inbox = HeldInbox()
    private let peers = NoPeers()
    private let sink = ReplyRecorder()
    private let stores: StoreIdentity
    private let options: NodeOptions
    private var lastToken: UInt64 = 0

    /// Elects the node and applies its first entries.
    init(engineOptions: EngineOptions = EngineOptions()) throws {
        var options = NodeOptions()
        options.requestWaitTicks = 50
        self.options = options
        let fileSystem = MemoryFileSystem()
        var random = SeededGenerator(1)
        stores = try StoreIdentity.open(
            walDirectory: "/wal", tableDirectory: "/tables", fileSystem: fileSystem, using: &random)
        let recovered = try RecoveredNode.open(
            logDirectory: "/wal", tableDirectory: "/tables", fileSystem: fileSystem, logOptions: LogOptions(),
            engineOptions: engineOptions)
        engine = recovered.engine
        let identity = NodeIdentity(
            member: .founder(address: ""), store: stores.id, label: "alone", address: "", apiAddress: "localhost:1",
            isReplicated: false,
            cluster: [""])
        shell = NodeShell(
            identity: identity, options: options, recovered: recovered, executor: executor, inbox: inbox, peers: peers,
            board: StatusBoard(NodeStatus(isReplicated: false, nodeID: "alone")),
            logger: Logger(label: "shell") { _ in SwiftLogNoOpLogHandler() }, seed: 1)
        for _ in 0..<200 where !shell.core.isLeader || shell.applied < shell.core.lastIndex { tick() }
    }

    /// Runs the jobs of `lanes`, and those that follow from them, until there is none.
    func run(_ lanes: Lane...) {
        repeat {
            for input in inbox.takeAll() { shell.handle(input) }
            shell.pump()
            for job in executor.takeAll(lanes) { job() }
        } while inbox.isWaiting || executor.isWaiting(lanes)
    }

    private func tick() {
        shell.handle(.tick)
        run(.log, .apply, .read)
    }

    /// Lets the longest time pass that a request may wait; the engine does nothing meanwhile.
    func waitInVain() {
        for _ in 0...options.requestWaitTicks {
            shell.handle(.tick)
            run(.log, .read)
        }
    }

    /// - Returns: the token of the request.
    func put(_ value: [UInt8]) -> UInt64 {
        lastToken += 1
        shell.handle(
            .write(command: Command.put(key: Array("key".utf8), value: value), token: lastToken, sink: sink))
        return lastToken
    }

    func get() -> UInt64 {
        lastToken += 1
        shell.handle(.read(.get(key: Array("key".utf8)), .linearizable, token: lastToken, sink: sink))
        return lastToken
    }

    func outcome(of token: UInt64) -> Reply.Outcome? {
        sink.outcomes[token]
    }
}

private final class HeldExecutor: Executor {
    private let jobs = Mutex<[(lane: Lane, run: @Sendable () -> Void)]>([])

    func submit(_ lane: Lane, _ job: @escaping @Sendable () -> Void) {
        jobs.withLock { $0.append((lane, job)) }
    }

    func isWaiting(_ lanes: [Lane]) -> Bool {
        jobs.withLock { $0.contains { lanes.contains($0.lane) } }
    }

    func takeAll(_ lanes: [Lane]) -> [@Sendable () -> Void] {
        jobs.withLock { jobs in
            let taken = jobs.filter { lanes.contains($0.lane) }.map(\.run)
            jobs.removeAll { lanes.contains($0.lane) }
            return taken
        }
    }
}

private final class HeldInbox: NodeInbox {
    private let inputs = Mutex<[NodeInput]>([])

    var isWaiting: Bool { inputs.withLock { !$0.isEmpty } }

    func post(_ input: NodeInput) {
        inputs.withLock { $0.append(input) }
    }

    func takeAll() -> [NodeInput] {
        inputs.withLock { inputs in
            defer { inputs = [] }
            return inputs
        }
    }
}

private final class NoPeers: PeerSender {
    func send(_ message: Message, to member: MemberID) {}
    func setPeers(_ members: [Member]) {}
    func openSnapshotConnection(to member: MemberID) {}
    func closeSnapshotConnection(to member: MemberID) {}
    func flush() {}
}

/// What each request was answered.
final class ReplyRecorder: ReplySink {
    private let replies = Mutex<[UInt64: Reply.Outcome]>([:])

    var outcomes: [UInt64: Reply.Outcome] { replies.withLock { $0 } }

    func deliver(_ delivered: [Reply]) {
        replies.withLock { replies in
            for reply in delivered { replies[reply.token] = reply.outcome }
        }
    }
}
