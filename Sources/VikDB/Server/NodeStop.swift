import NIOCore
import NIOPosix

/// The waits of a stop: each has a limit, so that a stop ends whatever hangs. Used by the thread that stops the node.
struct NodeStop {
    /// What was not waited for any longer, as it is told to an operator.
    private(set) var unfinished: [String] = []
    private let deadline: NIODeadline

    /// Also for what comes after something that took all the time there was.
    static let leastWait = TimeAmount.milliseconds(500)

    init(limit: TimeAmount) {
        deadline = .now() + limit
    }

    /// - Returns: whether it came to its end.
    @discardableResult
    mutating func wait<Value>(
        for future: EventLoopFuture<Value>, _ what: String, atMost limit: TimeAmount? = nil
    ) -> Bool {
        let end = Signpost()
        future.whenComplete { _ in end.reach() }
        return wait(for: end, what, atMost: limit)
    }

    mutating func wait(for group: MultiThreadedEventLoopGroup, _ what: String) {
        let end = Signpost()
        let isRunning = DetachedThread.run {
            try? group.syncShutdownGracefully()
            end.reach()
        }
        // Nor could it be waited for here: that might take for ever.
        guard isRunning else { return unfinished.append(what) }
        wait(for: end, what, atMost: nil)
    }

    mutating func wait(for executor: ThreadExecutor) {
        let lanes = executor.shutdown(milliseconds: milliseconds(atMost: nil))
        unfinished += lanes.map { "a job of the \($0) lane, which waits for a disk" }
    }

    @discardableResult
    private mutating func wait(for end: Signpost, _ what: String, atMost limit: TimeAmount?) -> Bool {
        let isOver = end.wait(milliseconds: milliseconds(atMost: limit))
        if !isOver { unfinished.append(what) }
        return isOver
    }

    private func milliseconds(atMost limit: TimeAmount?) -> UInt64 {
        let left = max(deadline - .now(), Self.leastWait)
        return UInt64(min(left, limit ?? left).nanoseconds / 1_000_000)
    }
}
