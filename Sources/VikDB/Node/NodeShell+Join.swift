import VikWire

/// Nodes that are to become members, or have lost their disk, and wait to be told who they are. A plain value but for the
/// answers.
struct PendingJoins {
    struct Pending {
        let request: JoinRequest
        let deadline: UInt64
        let answer: (JoinReply?) -> Void
    }

    /// A connection waits for each.
    static let limit = 64

    private var gathering: [Pending] = []
    private var asking: [Pending] = []
    private var confirmed: [(index: LogIndex, joins: [Pending])] = []

    var isGathering: Bool { !gathering.isEmpty }
    var isAsking: Bool { !asking.isEmpty }
    var count: Int { gathering.count + asking.count + confirmed.reduce(0) { $0 + $1.joins.count } }

    mutating func append(_ join: Pending) { gathering.append(join) }

    mutating func startAsking() { swap(&asking, &gathering) }

    mutating func confirm(at index: LogIndex) {
        guard !asking.isEmpty else { return }
        confirmed.append((index, asking))
        asking = []
    }

    mutating func takeConfirmed(through commit: LogIndex) -> [Pending] {
        let due = confirmed.filter { $0.index <= commit }.flatMap(\.joins)
        confirmed.removeAll { $0.index <= commit }
        return due
    }

    mutating func takeExpired(at now: UInt64) -> [Pending] {
        var expired: [Pending] = []
        func keep(_ joins: [Pending]) -> [Pending] {
            expired += joins.filter { $0.deadline <= now }
            return joins.filter { $0.deadline > now }
        }
        gathering = keep(gathering)
        asking = keep(asking)
        confirmed = confirmed.map { ($0.index, keep($0.joins)) }.filter { !$0.joins.isEmpty }
        return expired
    }
}

extension NodeShell {
    /// Tells a node that is to become a member who it is, once a read index that was asked for after the question says
    /// that this node knows all that was committed before it. A member that lags behind would give away an id that was
    /// removed since, and the node would use it for as long as it runs.
    ///
    /// - Parameter answer: called once, with nil if nobody confirms it in time.
    package func tell(_ request: JoinRequest, _ answer: @escaping (JoinReply?) -> Void) {
        guard phase == .running, joins.count < PendingJoins.limit else { return answer(nil) }
        // Half of what a request may wait: the connection that waits for the answer has its own limit.
        let deadline = now + UInt64(options.requestWaitTicks / 2)
        joins.append(PendingJoins.Pending(request: request, deadline: deadline, answer: answer))
    }

    func answerJoins() {
        for join in joins.takeConfirmed(through: core.commit) { join.answer(joinReply(to: join.request)) }
    }

    func expireJoins() {
        guard joins.count > 0 else { return }
        for join in joins.takeExpired(at: now) { join.answer(nil) }
    }

    func abandonJoins() {
        for join in joins.takeExpired(at: .max) { join.answer(nil) }
    }

    /// From the newest configuration that is known to be committed: one that is not may yet be replaced by another, with
    /// other member ids.
    private func joinReply(to request: JoinRequest) -> JoinReply {
        guard let configuration = core.committedConfiguration?.configuration,
            let member = configuration.members.first(where: { $0.label == request.label })
        else { return .unknown }
        return .member(member.id, configuration)
    }
}
