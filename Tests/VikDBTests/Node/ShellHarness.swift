import Logging
import NIOCore
import Synchronization
import VikDB
import VikTestSupport
import VikWire

/// The shell of one node, in the test's own thread: its jobs run when the test says so. In a cluster it is member 1, and
/// the test plays all others.
final class ShellHarness {
    let engine: Engine
    let peers = RecordedPeers()
    private let shell: NodeShell
    private let executor = HeldExecutor()
    private let inbox = HeldInbox()
    private let sink = ReplyRecorder()
    private let log = LineRecorder()
    private let board: StatusBoard
    private let stores: StoreIdentity
    private let options: NodeOptions
    private let memberCount: Int
    private var lastToken: UInt64 = 0

    /// A node alone is elected, and has applied its first entries. A founder of a cluster knows the others.
    init(
        members: Int = 1, options: NodeOptions = ShellHarness.impatient, logOptions: LogOptions = LogOptions(),
        engineOptions: EngineOptions = EngineOptions(), fileSystem: MemoryFileSystem = MemoryFileSystem(),
        meetsOthers: Bool = true
    ) throws {
        self.options = options
        memberCount = members
        var random = SeededGenerator(1)
        stores = try StoreIdentity.open(
            walDirectory: "/wal", tableDirectory: "/tables", fileSystem: fileSystem, using: &random)
        let recovered = try RecoveredNode.open(
            logDirectory: "/wal", tableDirectory: "/tables", fileSystem: fileSystem, logOptions: logOptions,
            engineOptions: engineOptions)
        engine = recovered.engine
        let identity = NodeIdentity(
            member: Self.member(1), store: stores.id, label: "node1", address: Self.address(1),
            apiAddress: Self.apiAddress(1), isReplicated: members > 1, cluster: (1...members).map(Self.address))
        board = StatusBoard(NodeStatus(isReplicated: members > 1, nodeID: "node1"))
        shell = NodeShell(
            identity: identity, options: options, recovered: recovered, executor: executor, inbox: inbox, peers: peers,
            board: board, logger: Logger(label: "shell") { [log] _ in log }, seed: 1)
        if members == 1 {
            for _ in 0..<200 where !core.isLeader || shell.applied < core.lastIndex { tick() }
        } else if meetsOthers {
            for number in 2...members { connect(number) }
        }
    }

    static let impatient: NodeOptions = {
        var options = NodeOptions()
        options.requestWaitTicks = 50
        return options
    }()

    var core: RaftCore { shell.core }
    var status: NodeStatus { board.status }
    var metrics: NodeMetrics { board.metrics }
    var counters: NodeCounters { board.counters }
    var failure: StorageError? { shell.failure }
    /// - Returns: what a node with this label is told; it comes later.
    func ask(_ label: String) -> JoinAnswer {
        let answer = JoinAnswer()
        shell.tell(JoinRequest(store: StoreID(high: 9, low: 9), label: label)) { answer.replies.append($0) }
        run([])
        return answer
    }

    func storeRefusal(of hello: Hello) -> String? { shell.storeRefusal(of: hello) }

    /// What it has logged, but for metadata.
    var lines: [String] { log.lines.withLock { $0.map(\.text) } }
    /// With it.
    var detailedLines: [String] { log.lines.withLock { $0.map { $0.text + $0.metadata } } }

    // MARK: Time and jobs

    /// Jobs of a lane that wait to be run.
    func waitingJobs(_ lane: Lane) -> Int { executor.count(lane) }

    /// Runs the jobs of `lanes`, and those that follow from them, until there is none.
    func run(_ lanes: Lane...) { run(lanes) }

    private func run(_ lanes: [Lane]) {
        repeat {
            for input in inbox.takeAll() { shell.handle(input) }
            shell.pump()
            for job in executor.takeAll(lanes) { job() }
        } while inbox.isWaiting || executor.isWaiting(lanes)
    }

    /// Runs the jobs of a lane that wait, and none that follow from them.
    func runOnce(_ lane: Lane) {
        run([])
        for job in executor.takeAll([lane]) { job() }
        run([])
    }

    func tick(_ count: Int = 1, running lanes: [Lane] = [.log, .apply, .read]) {
        for _ in 0..<count {
            shell.handle(.tick)
            run(lanes)
        }
    }

    /// Lets the longest time pass that a request may wait; the engine does nothing meanwhile.
    func waitInVain() {
        tick(options.requestWaitTicks + 1, running: [.log, .read])
    }

    // MARK: Requests

    /// - Returns: the token of the request.
    func put(_ value: [UInt8], key: String = "key") -> UInt64 {
        write(Command.put(key: Array(key.utf8), value: value))
    }

    func delete(_ keys: String...) -> UInt64 {
        var command = ByteBuffer()
        Command.writeHeader(operationCount: keys.count, into: &command)
        for key in keys { Command.writeDelete(key: Array(key.utf8), into: &command) }
        return write(command)
    }

    private func write(_ command: ByteBuffer) -> UInt64 {
        lastToken += 1
        shell.handle(.write(command: command, token: lastToken, sink: sink))
        return lastToken
    }

    func get(_ key: String = "key") -> UInt64 {
        lastToken += 1
        shell.handle(.read(.get(key: Array(key.utf8)), .linearizable, token: lastToken, sink: sink))
        return lastToken
    }

    func administer(_ request: AdminRequest) -> UInt64 {
        lastToken += 1
        shell.handle(.administer(request, token: lastToken, sink: sink))
        return lastToken
    }

    func outcome(of token: UInt64) -> Reply.Outcome? {
        sink.outcomes[token]
    }

    func refusal(of token: UInt64) -> Refusal? {
        if case .notApplied(let refusal)? = outcome(of: token) { refusal } else { nil }
    }

    func isWritten(_ token: UInt64) -> Bool {
        if case .written? = outcome(of: token) { true } else { false }
    }

    func handle(_ input: NodeInput) {
        shell.handle(input)
        run([])
    }

    // MARK: The other members

    static func address(_ number: Int) -> String { "host\(number):7000" }
    static func apiAddress(_ number: Int) -> String { "host\(number):8080" }
    static func member(_ number: Int) -> MemberID { .founder(address: address(number)) }
    static func store(_ number: Int) -> StoreID { StoreID(high: UInt64(number), low: 1) }

    /// The members as the test's leaders write them.
    var configuration: Configuration {
        Configuration(
            incarnation: Incarnation(high: 7, low: 7),
            members: (1...memberCount).map { number in
                Member(
                    id: Self.member(number), store: number == 1 ? stores.id : Self.store(number),
                    address: Self.address(number), label: "node\(number)")
            })
    }

    func connect(
        _ number: Int, label: String? = nil, state: StoreState = .empty, incarnation: Incarnation = .zero
    ) {
        handle(
            .peerConnected(
                Hello(
                    channel: .control, incarnation: incarnation, member: Self.member(number), peer: Self.member(1),
                    store: Self.store(number), state: state, label: label ?? "node\(number)",
                    address: Self.address(number),
                    apiAddress: Self.apiAddress(number))))
    }

    func step(_ message: Message, from number: Int) {
        handle(.message(message, from: Self.member(number), store: Self.store(number)))
    }

    /// Wins an election with the vote of member 2, which then has the whole log.
    func elect() {
        while core.role == .follower { tick() }
        step(.voteReply(VoteReply(term: core.term + 1, isPreVote: true, isGranted: true)), from: 2)
        run(.log)
        step(.voteReply(VoteReply(term: core.term, isPreVote: false, isGranted: true)), from: 2)
        run(.log)
        acknowledge(from: 2)
    }

    /// Members have the log up to `index`; nil: all of it.
    func acknowledge(through index: LogIndex? = nil, from numbers: Int...) {
        for number in numbers {
            let reply = AppendReply(term: core.term, outcome: .matched(index ?? core.lastIndex))
            step(.appendReply(reply), from: number)
        }
        run(.log, .apply)
    }

    func tick(_ count: Int, answeredBy numbers: [Int]) {
        for _ in 0..<count {
            tick()
            let reply = HeartbeatReply(term: core.term, round: 0, verified: core.lastIndex)
            for number in numbers { step(.heartbeatReply(reply), from: number) }
        }
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

    func count(_ lane: Lane) -> Int {
        jobs.withLock { $0.count { $0.lane == lane } }
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

/// Keeps the lines of a log.
private final class LineRecorder: LogHandler, Sendable {
    let lines = Mutex<[(text: String, metadata: String)]>([])

    var logLevel: Logger.Level {
        get { .info }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        let metadata = event.metadata.map { " \($0)" } ?? ""
        lines.withLock { $0.append(("\(event.level) \(event.message)", metadata)) }
    }
}

/// What the node sent, until the test takes it.
final class RecordedPeers: PeerSender {
    private var sent: [(message: Message, member: MemberID)] = []
    /// How many it has opened so far.
    private(set) var snapshotConnections = 0
    /// Whom the node refused, and why.
    private(set) var refused: [(member: MemberID, reason: String)] = []

    func send(_ message: Message, to member: MemberID) { sent.append((message, member)) }
    func setPeers(_ members: [Member]) {}
    func openSnapshotConnection(to member: MemberID) { snapshotConnections += 1 }
    func closeSnapshotConnection(to member: MemberID) {}
    func refuse(_ member: MemberID, reason: String) { refused.append((member, reason)) }
    func flush() {}

    /// Messages to one member.
    func take(to number: Int) -> [Message] {
        let taken = sent.filter { $0.member == ShellHarness.member(number) }.map(\.message)
        sent.removeAll { $0.member == ShellHarness.member(number) }
        return taken
    }
}

/// What each request was answered.
final class ReplyRecorder: ReplySink {
    private let replies = Mutex<[UInt64: Reply.Outcome]>([:])

    var outcomes: [UInt64: Reply.Outcome] { replies.withLock { $0 } }

    func deliver(_ delivered: [Reply]) {
        replies.withLock { replies in
            for reply in delivered {
                precondition(replies.updateValue(reply.outcome, forKey: reply.token) == nil, "one answer a request")
            }
        }
    }
}

/// What a node that asked who it is was told.
final class JoinAnswer {
    fileprivate(set) var replies: [JoinReply?] = []
}
