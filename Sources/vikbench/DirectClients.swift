import NIOCore
import Synchronization
import VikDB
import VikWire

/// Clients that call the nodes of a ``LocalCluster`` without anything in between. Bound to their loop.
final class DirectClients: SystemUnderTest {
    var completion: (_ client: Int, _ outcome: Outcome) -> Void = { _, _ in }
    private let cluster: LocalCluster
    private let workload: Workload
    private let replies: ReplyMailbox
    private var leader = 0

    init(_ cluster: LocalCluster, _ workload: Workload, eventLoop: any EventLoop) {
        self.cluster = cluster
        self.workload = workload
        replies = ReplyMailbox(eventLoop: eventLoop)
        replies.connect { [weak self] reply in
            self?.completion(Int(reply.token), Outcome(reply.outcome))
        }
    }

    func perform(_ operation: Operation, client: Int) {
        let token = UInt64(client)
        switch operation {
        case .put(let write): cluster.nodes[leader].write(workload.command(write), token: token, replyTo: replies)
        case .get(let key, let node):
            cluster.nodes[node].read(
                .get(key: workload.key(key)), .linearizable, token: token, replyTo: replies)
        }
    }

    func findLeader() {
        if let found = cluster.leader { leader = found }
    }

    var counters: SystemCounters? {
        let counters = cluster.nodes[leader].counters
        return SystemCounters(
            leader: leader, leaderGroups: counters.syncedGroups, leaderEntries: counters.syncedEntries,
            wireBytes: cluster.nodes.reduce(0) { $0 + $1.wireBytes })
    }
}

/// Brings the nodes' replies to the clients' loop: one wake-up for as many as came before it. Any thread delivers.
///
/// It is bounded by the clients, each of which waits for one reply at most.
private final class ReplyMailbox: ReplySink {
    private let eventLoop: any EventLoop
    private let waiting = Mutex<[Reply]>([])
    /// Set once, before the first request.
    private let receiver: NIOLoopBoundBox<(Reply) -> Void>

    /// On the loop.
    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        receiver = NIOLoopBoundBox({ _ in }, eventLoop: eventLoop)
    }

    /// On the loop.
    func connect(_ receiver: @escaping (Reply) -> Void) {
        self.receiver.value = receiver
    }

    func deliver(_ replies: [Reply]) {
        let isFirst = waiting.withLock { waiting in
            let isFirst = waiting.isEmpty
            waiting.append(contentsOf: replies)
            return isFirst
        }
        if isFirst { eventLoop.execute { [self] in drain() } }
    }

    private func drain() {
        let receiver = receiver.value
        for reply in waiting.withLock({ exchange(&$0, with: []) }) { receiver(reply) }
    }
}

extension Outcome {
    fileprivate init(_ outcome: Reply.Outcome) {
        switch outcome {
        case .written: self = .acknowledged
        case .notApplied(let refusal), .notAnswered(let refusal): self = .refused("\(refusal)")
        case .unknown(let reason): self = .unknown("\(reason)")
        case .answered(.value(let stored), _): self = .value(stored?.bytes)
        case .answered(.page, _), .answered(.stateHash, _), .administered, .notAdministered:
            preconditionFailure("only puts and gets are asked for")
        }
    }
}
