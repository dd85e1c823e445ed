/// Where work goes that must not run on the node's loop. The log, the engine and the node's shell own no threads:
/// production runs each lane on threads of its own, the simulator in a seeded order, a single-threaded benchmark
/// inline.
package enum Lane: Int, Sendable, CaseIterable {
    /// Appends, fdatasync, hard state. Strictly in order.
    case log
    /// Committed entries into the engine. Strictly in order.
    case apply
    /// Flush and merge. Strictly in order.
    case background
    /// Client reads, and old log entries for slow followers. In any order.
    case read
    /// Reading and compressing snapshots, or taking one in. Strictly in order.
    case snapshot
}

/// The port to those threads.
package protocol Executor: Sendable {
    /// Runs `job` on `lane`; never inline unless the implementation says so. Jobs of an ordered lane run one after
    /// another, in the order of submission.
    func submit(_ lane: Lane, _ job: @escaping @Sendable () -> Void)
}
