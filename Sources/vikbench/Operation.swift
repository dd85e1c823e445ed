/// One request of a client.
enum Operation {
    case put(Write)
    /// A linearizable read at one of the nodes.
    case get(key: Int, node: Int)
}

/// How a request ended.
enum Outcome {
    case acknowledged
    case value([UInt8]?)
    /// Surely without effect.
    case refused(String)
    /// A write that may or may not take effect, or a read without an answer.
    case unknown(String)
}

/// What is measured: nodes in this process, or a cluster behind its HTTP API. Bound to the clients' loop.
protocol SystemUnderTest: AnyObject {
    /// Takes each operation's one outcome, later than the call that began it.
    var completion: (_ client: Int, _ outcome: Outcome) -> Void { get set }
    /// Begins a client's operation. A client has one under way at most.
    func perform(_ operation: Operation, client: Int)
    /// Looks anew for the node that writes go to.
    func findLeader()
    /// Nil where the nodes' inner figures cannot be had.
    var counters: SystemCounters? { get }
}

/// Totals of the nodes since their start. A plain value.
struct SystemCounters {
    var leader: Int
    /// Groups that the leader synced, and the entries in them.
    var leaderGroups: Int
    var leaderEntries: Int
    /// Sent by all nodes to each other.
    var wireBytes: UInt64
}

/// What the clients of a ``ClientLoop`` do. Bound to their loop.
protocol OperationSource: AnyObject {
    /// How many operations there are in all, for people to see.
    var total: Int { get }
    /// The client's next operation; nil: it has nothing more to do.
    func next(client: Int) -> Operation?
    /// Notes an outcome; false: it was no success, and the client should pause.
    func completed(_ operation: Operation, _ outcome: Outcome) -> Bool
}
