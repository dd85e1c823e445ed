import Synchronization
import VikDB
import VikWire

/// Gathers what the code under test hands out, until the simulation takes it and decides when it has its effect.
final class Mailbox<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])

    func append(_ element: Element) {
        elements.withLock { $0.append(element) }
    }

    func takeAll() -> [Element] {
        elements.withLock { elements in
            defer { elements = [] }
            return elements
        }
    }
}

/// Keeps jobs until the simulation runs them.
final class SimulatedExecutor: Executor {
    struct Job: Sendable {
        let lane: Lane
        let run: @Sendable () -> Void
    }

    let submitted = Mailbox<Job>()

    func submit(_ lane: Lane, _ job: @escaping @Sendable () -> Void) {
        submitted.append(Job(lane: lane, run: job))
    }
}

/// Keeps what jobs report until the simulation lets it arrive.
final class SimulatedInbox: NodeInbox {
    let posted = Mailbox<NodeInput>()

    func post(_ input: NodeInput) {
        posted.append(input)
    }
}

/// Keeps a node's messages until the simulation gives them to the network.
final class SimulatedSender: PeerSender {
    private(set) var outgoing: [(message: Message, member: MemberID)] = []
    /// Whom the node has a connection for a snapshot to, as it wants.
    private(set) var snapshotReceivers: Set<MemberID> = []
    /// Whom it dials and listens to; nil: those of `-cluster`.
    private(set) var peers: Set<MemberID>?

    func send(_ message: Message, to member: MemberID) {
        outgoing.append((message, member))
    }

    func setPeers(_ members: [Member]) {
        peers = Set(members.map(\.id))
        snapshotReceivers.formIntersection(peers!)
    }

    func openSnapshotConnection(to member: MemberID) {
        snapshotReceivers.insert(member)
    }

    func closeSnapshotConnection(to member: MemberID) {
        snapshotReceivers.remove(member)
    }

    /// What members said that no member can: where all are honest, there is none.
    private(set) var refusals: [(member: MemberID, reason: String)] = []

    func refuse(_ member: MemberID, reason: String) {
        refusals.append((member, reason))
    }

    func flush() {}

    func takeAll() -> [(message: Message, member: MemberID)] {
        defer { outgoing = [] }
        return outgoing
    }
}

/// Keeps replies to clients.
final class SimulatedSink: ReplySink {
    let replies = Mailbox<Reply>()

    func deliver(_ replies: [Reply]) {
        for reply in replies { self.replies.append(reply) }
    }
}
