import Histogram
import NIOCore

/// Clients with one operation under way each. Bound to their event loop.
///
/// In a *closed* loop a client begins its next operation when one ends. In an *open* loop it takes the next one that a
/// ``Pace`` plans, and the time counts from that plan, late or not: a system that stands still is charged for all that
/// should have begun meanwhile (Tene, "coordinated omission").
///
/// It is meant to cost little beside what it measures: no task and no allocation of its own for an operation.
final class ClientLoop<Source: OperationSource> {
    private struct Client {
        var operation: Operation?
        var started = NIODeadline.now()
    }

    let source: Source
    /// Nanoseconds from an operation's beginning, in an open loop the planned one, to its success.
    private(set) var latency = Histogram<UInt64>(highestTrackableValue: 600_000_000_000)
    private let system: any SystemUnderTest
    private let eventLoop: any EventLoop
    private let progress: Progress
    private var pace: Pace?
    private let ended: EventLoopPromise<Void>
    private var clients: [Client]
    private var activeClients: Int
    private var completedOperations = 0
    private var watch = Watch()

    init(
        _ source: Source, clients: Int, pace: Pace? = nil, system: any SystemUnderTest, eventLoop: any EventLoop,
        progress: Progress
    ) {
        self.source = source
        self.system = system
        self.eventLoop = eventLoop
        self.progress = progress
        self.pace = pace
        self.clients = Array(repeating: Client(), count: clients)
        activeClients = clients
        ended = eventLoop.makePromise()
    }

    func run() -> EventLoopFuture<Void> {
        system.completion = { [weak self] client, outcome in self?.completed(client, outcome) }
        for client in clients.indices { begin(client) }
        if activeClients > 0 { scheduleWatch() }
        return ended.futureResult
    }

    private func begin(_ client: Int) {
        guard let operation = source.next(client: client) else {
            activeClients -= 1
            if activeClients == 0 { ended.succeed() }
            return
        }
        let due = pace?.takeNext() ?? .now()
        clients[client] = Client(operation: operation, started: due)
        guard due > .now() else {
            system.perform(operation, client: client)
            return
        }
        eventLoop.assumeIsolated().scheduleTask(deadline: due) { [system] in
            system.perform(operation, client: client)
        }
    }

    private func completed(_ client: Int, _ outcome: Outcome) {
        guard let operation = clients[client].operation else { preconditionFailure("an operation ends once") }
        clients[client].operation = nil
        completedOperations += 1
        if source.completed(operation, outcome) {
            latency.record(UInt64((NIODeadline.now() - clients[client].started).nanoseconds))
            begin(client)
        } else {
            eventLoop.assumeIsolated().scheduleTask(in: pauseAfterFailure) { [self] in
                system.findLeader()
                begin(client)
            }
        }
    }

    /// Shows progress, and gives up on a system that has fallen silent.
    private func scheduleWatch() {
        eventLoop.assumeIsolated().scheduleTask(in: Watch.interval) { [self] in
            guard activeClients > 0 else { return }
            if completedOperations != watch.completedOperations {
                watch = Watch(completedOperations: completedOperations)
            } else if NIODeadline.now() - watch.lastChange > Watch.patience {
                ended.fail(BenchmarkError("no answer for \(Watch.patience.nanoseconds / 1_000_000_000) seconds"))
                return
            }
            progress.show(completedOperations, of: source.total)
            scheduleWatch()
        }
    }
}

/// A client waits so long after a failure, lest it flood a cluster that has no leader.
private let pauseAfterFailure = TimeAmount.milliseconds(10)

/// When the operations of an open loop are due: evenly, from the first one asked for. A plain value.
struct Pace {
    private let perSecond: Int
    private var start: NIODeadline?
    private var taken = 0

    init(perSecond: Int) {
        self.perSecond = perSecond
    }

    mutating func takeNext() -> NIODeadline {
        let start = start ?? .now()
        self.start = start
        defer { taken += 1 }
        return start + .nanoseconds(Int64(Double(taken) / Double(perSecond) * 1_000_000_000))
    }
}

/// When the loop last got on. A plain value.
private struct Watch {
    /// Nodes answer everything within seconds; silence means that an answer was lost.
    static let patience = TimeAmount.seconds(60)
    static let interval = TimeAmount.milliseconds(200)
    var completedOperations = 0
    var lastChange = NIODeadline.now()
}
