import NIOCore

/// The clients over the whole benchmark: runs of puts, then reading back. Bound to their loop.
final class Session {
    private let plan: Plan
    private let system: any SystemUnderTest
    private let eventLoop: any EventLoop
    private let workload: Workload
    private let ledger: Ledger
    private let sequence: WriteSequence

    init(_ plan: Plan, _ workload: Workload, system: any SystemUnderTest, eventLoop: any EventLoop) {
        self.plan = plan
        self.system = system
        self.eventLoop = eventLoop
        self.workload = workload
        ledger = Ledger(keys: plan.keys)
        sequence = WriteSequence(keys: plan.keys, clients: plan.clients)
    }

    /// - Parameter rate: puts a second of an open loop; nil: a closed one.
    func put(_ operations: Int, rate: Int?, label: String) -> EventLoopFuture<RunFigures> {
        let puts = ClientLoop(
            Puts(total: operations, ledger: ledger, sequence: sequence), clients: plan.clients,
            pace: rate.map { Pace(perSecond: $0) }, system: system, eventLoop: eventLoop,
            progress: Progress(label: label))
        system.findLeader()
        let startCounters = system.counters
        let start = ClockReading()
        return puts.run().assumeIsolated().map { [self] in
            RunFigures(
                puts.source, latency: puts.latency, elapsed: start.elapsed(until: ClockReading()),
                from: startCounters, to: system.counters)
        }.nonisolated()
    }

    func readBack(node: Int, label: String) -> EventLoopFuture<ReadBackFigures> {
        let gets = ClientLoop(
            ReadBack(node: node, ledger: ledger, workload: workload), clients: ReadBack.clients, system: system,
            eventLoop: eventLoop, progress: Progress(label: label))
        return gets.run().assumeIsolated().map {
            let source = gets.source
            return ReadBackFigures(
                keys: source.total, wrong: source.wrong, unanswered: source.unanswered,
                firstFailure: source.firstFailure)
        }.nonisolated()
    }
}
