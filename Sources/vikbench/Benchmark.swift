import NIOCore
import NIOPosix
import VikWire

/// The order of a benchmark. Blocks; for the main thread.
enum Benchmark {
    static func inProcess(_ plan: Plan, nodes: Int, parent: String?) throws -> Report {
        let scratch = try ScratchDirectory(parent: parent)
        defer { scratch.remove() }
        let syncMicroseconds = try SyncProbe.medianMicroseconds(in: scratch.path)
        Progress.write("starting \(nodes) nodes")
        let cluster = try LocalCluster.start(count: nodes, in: scratch.path, seed: plan.seed)
        defer { cluster.stop() }
        var report = try run(plan, nodes: nodes) { workload, eventLoop in
            DirectClients(cluster, workload, eventLoop: eventLoop)
        }
        report.fdatasyncMicroseconds = syncMicroseconds
        return report
    }

    static func overHTTP(_ plan: Plan, targets: [HostPort]) throws -> Report {
        try run(plan, nodes: targets.count) { workload, eventLoop in
            HTTPClients(
                targets: targets, clients: max(plan.clients, ReadBack.clients), workload, eventLoop: eventLoop)
        }
    }

    private static func run(
        _ plan: Plan, nodes: Int,
        makeSystem: @escaping @Sendable (Workload, any EventLoop) -> any SystemUnderTest
    ) throws -> Report {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { try? group.syncShutdownGracefully() }
        let eventLoop = group.next()
        let workload = Workload(valueSize: plan.valueSize, seed: plan.seed)
        let session = try eventLoop.submit {
            NIOLoopBound(
                Session(plan, workload, system: makeSystem(workload, eventLoop), eventLoop: eventLoop),
                eventLoop: eventLoop)
        }.wait()

        if plan.warmup > 0 {
            _ = try eventLoop.flatSubmit { session.value.put(plan.warmup, rate: nil, label: "warm-up") }.wait()
        }
        let runs = try (1...plan.runs).map { run in
            try eventLoop.flatSubmit {
                session.value.put(
                    plan.operations, rate: plan.rate, label: plan.runs == 1 ? "puts" : "run \(run) of \(plan.runs)")
            }.wait()
        }
        guard runs.allSatisfy({ $0.acknowledged > 0 }) else {
            let reason = runs.compactMap(\.firstFailure).first.map { ": \($0)" } ?? ""
            throw BenchmarkError("no put was acknowledged\(reason)")
        }
        let readBacks = try (0..<nodes).map { node in
            try eventLoop.flatSubmit {
                session.value.readBack(node: node, label: "reading back at node \(node + 1) of \(nodes)")
            }.wait()
        }
        return Report(plan: plan, runs: runs, readBacks: readBacks)
    }
}
