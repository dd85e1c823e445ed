import Logging
import VikDB
import VikWire

/// A machine of the simulation: an address and a disk, and most of the time a process. Bound to its simulation.
package final class SimulatedNode {
    package let position: Int
    let address: String
    /// Who it is; a spare is nobody until the cluster has added it.
    var member: MemberID
    /// Not any more once it was taken away: whatever it becomes then, it founds nothing.
    var isFounder: Bool
    var disk = MemoryFileSystem()
    var process: SimulatedProcess?
    var store = StoreID.zero
    /// While paused, everything that should happen to the process is kept here.
    var isPaused = false
    var kept: [() -> Void] = []
    /// Syncs take this many times as long.
    var slowness: UInt64 = 1
    var isRestartDue = false
    /// The disk was told to fail: the node may stop.
    var expectsFailure = false
    /// Its store is recorded, and holds the entry that says so: it remembers what it promises.
    var isTrusted = false
    /// Its disk was lost, and the new one is not trusted yet.
    var hasLostDisk = false
    /// What was claimed of the disk's content, and must be found again.
    var claims = Claims()
    /// The disk is an older copy of itself, and the node has stopped because of that.
    var isRolledBack = false
    package var hasNoticedRollback = false
    /// The disk that was replaced, on a shelf.
    var formerStore: ShelvedStore?

    init(position: Int, isFounder: Bool) {
        self.position = position
        self.isFounder = isFounder
        address = "node\(position + 1):7001"
        member = isFounder ? .founder(address: address) : .none
    }

    var label: String { "node\(position + 1)" }
    package var name: String { label }
    package var replicationAddress: String { address }
    /// Whether it is a member at present.
    package var isPresent: Bool { member != .none }

    static let logDirectory = "/data/log"
    static let tableDirectory = "/data/tables"
}

/// A disk that is in no machine at present, and what was claimed of it. A plain value but for the disk.
struct ShelvedStore {
    let disk: MemoryFileSystem
    let store: StoreID
    let claims: Claims
}

/// What a node has told others, or done, that must survive a crash. A plain value.
struct Claims {
    var term: Term = 0
    /// The vote given in `term`.
    var vote = MemberID.none
    /// The log is durable up to here.
    var durable: LogIndex = 0
    /// How the last process ended: its log and hard state, durable or not.
    private(set) var atEnd: (log: LogShadow, hardState: HardState)?

    mutating func claim(term newTerm: Term) {
        guard newTerm > term else { return }
        term = newTerm
        vote = .none
    }

    mutating func claim(vote candidate: MemberID, in newTerm: Term) {
        claim(term: newTerm)
        if newTerm == term { vote = candidate }
    }

    mutating func noteEnd(of process: SimulatedProcess) {
        // Nothing is applied before it is durable here.
        durable = max(durable, process.engine.appliedIndex)
        atEnd = (process.shadow, process.shell.core.hardState)
    }
}

/// One life of a node, from start to crash or stop. Bound to its simulation.
final class SimulatedProcess {
    let number: Int
    let node: SimulatedNode
    let stores: StoreIdentity
    let log: LogStore
    let engine: Engine
    let executor = SimulatedExecutor()
    let inbox = SimulatedInbox()
    private let sender = SimulatedSender()
    /// Of its stored configuration, or of `-cluster`, or of the answer to its request to join.
    private let firstPeers: Set<MemberID>
    let shell: NodeShell

    var inputs: [NodeInput] = []
    var isTurnDue = false
    var isStopping = false
    /// Jobs by lane, in order of submission.
    var jobs: [[SimulatedExecutor.Job]] = Array(repeating: [], count: Lane.allCases.count)
    var laneIsFreeAt: [UInt64] = Array(repeating: 0, count: Lane.allCases.count)
    var lastPostOfLane: [UInt64] = Array(repeating: 0, count: Lane.allCases.count)
    /// The process of each peer that a connection reaches, as far as this one knows.
    var connected: [Int: Int] = [:]
    /// Those to whom no entries get, as far as this one knows.
    var cutAppends: Set<Int> = []
    /// The same of connections for snapshots. A number of its own for each, because chunks arrive in order or not at all.
    var snapshotLinks: [Int: (target: Int, number: Int, lastArrival: UInt64)] = [:]
    var shadow: LogShadow
    var seenTerm: Term = 0
    var seenCommit: LogIndex = 0
    var seenApplied: LogIndex = 0
    var wasLeader = false
    /// Whether it led before its last turn.
    var ledBefore = false
    /// As of the turn before.
    var seenConfiguration: Configuration?

    init(
        number: Int, node: SimulatedNode, stores: StoreIdentity, recovered: RecoveredNode, cluster: [String],
        joined: Configuration?, peers: Set<MemberID>, options: NodeOptions, seed: UInt64
    ) {
        self.number = number
        self.node = node
        self.stores = stores
        firstPeers = peers
        log = recovered.log
        engine = recovered.engine
        let identity = NodeIdentity(
            member: node.member, store: stores.id, label: node.label, address: node.address,
            apiAddress: "\(node.label):8080",
            isReplicated: true, cluster: cluster, joined: joined)
        shell = NodeShell(
            identity: identity, options: options, recovered: recovered, executor: executor, inbox: inbox,
            peers: sender, board: StatusBoard(NodeStatus(isReplicated: true, nodeID: node.label)),
            logger: Logger(label: node.label) { _ in SwiftLogNoOpLogHandler() }, seed: seed)
        shadow = LogShadow(recovered.state)
        seenTerm = shell.core.term
        seenCommit = shell.core.commit
        seenApplied = shell.applied
    }

    func takeMessages() -> [(message: Message, member: MemberID)] {
        sender.takeAll()
    }

    var refusals: [(member: MemberID, reason: String)] { sender.refusals }

    var snapshotReceivers: Set<MemberID> { sender.snapshotReceivers }

    /// Whether it dials, and listens to, a member.
    func knows(_ member: MemberID) -> Bool {
        sender.peers?.contains(member) ?? firstPeers.contains(member)
    }

    func hello(to peer: SimulatedNode) -> Hello {
        let local = shell.localHello(to: peer.member)
        var hello = Hello(
            features: HelloFeatures.own.rawValue, channel: .control, incarnation: local.incarnation,
            member: node.member, peer: peer.member,
            store: stores.id, state: local.state, recordedStore: local.recordedStore, label: node.label,
            address: node.address,
            apiAddress: "\(node.label):8080")
        hello.logEnd = local.logEnd
        return hello
    }
}

/// The terms in a node's log as last seen, to find out what a step changed. A plain value.
struct LogShadow {
    private(set) var base: LogIndex
    private(set) var baseTerm: Term
    private var terms: [Term] = []

    init(_ state: RestoredState) {
        base = state.baseIndex
        baseTerm = state.baseTerm
        for (position, run) in state.termRuns.enumerated() {
            let end =
                position + 1 < state.termRuns.count ? state.termRuns[position + 1].firstIndex : state.lastIndex + 1
            terms.append(contentsOf: repeatElement(run.term, count: Int(end - run.firstIndex)))
        }
    }

    var last: LogIndex { base + LogIndex(terms.count) }

    func term(at index: LogIndex) -> Term? {
        if index == base { return baseTerm }
        return index > base && index <= last ? terms[Int(index - base) - 1] : nil
    }

    mutating func truncate(after index: LogIndex) {
        terms.removeLast(Int(last - index))
    }

    /// What is at or before `index` is not in the log any more; nor anything, if the log does not go on from there.
    mutating func begin(after index: LogIndex, _ term: Term) {
        if self.term(at: index) == term {
            terms.removeFirst(Int(index - base))
        } else {
            terms = []
        }
        (base, baseTerm) = (index, term)
    }

    mutating func append(_ term: Term) {
        terms.append(term)
    }
}
