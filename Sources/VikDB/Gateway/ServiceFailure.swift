import VikWire

/// What the node's refusals look like to a client.
extension HTTPFailure {
    /// A write that was surely not applied.
    ///
    /// - Parameter redirect: the answer where another node leads, by its API address.
    static func write(refused refusal: Refusal, redirect: (_ leader: String?) -> HTTPFailure) -> HTTPFailure {
        var failure: HTTPFailure
        switch refusal {
        case .notLeader(let leader): failure = redirect(leader)
        case .noQuorum:
            failure = .tryAgain(
                .serviceUnavailable, "no majority of the cluster answers, so nothing can be written now")
        default: failure = .common(refusal)
        }
        failure.outcome = .notApplied
        return failure
    }

    /// A write that may still take effect. No Retry-After: sending it again is the client's decision.
    static func write(unknown reason: UnknownReason) -> HTTPFailure {
        let why =
            switch reason {
            case .leadershipLost: "the leader lost its office before the write was committed"
            case .timedOut: "the write was not committed within the time that a request may wait"
            case .stopping: "the node stopped before the write was committed"
            }
        var failure = HTTPFailure(.serviceUnavailable, why + "; it may still take effect, or not")
        failure.outcome = .unknown
        return failure
    }

    /// A request that the node has not replied to within the gateway's own limit.
    static func unanswered(_ route: Route) -> HTTPFailure {
        let hangs = "the node has not answered within the time that a request may take"
        switch route {
        // It does no harm twice.
        case .admin(.mergeTables):
            return tryAgain(.serviceUnavailable, hangs + "; the tables may be merged all the same")
        case .admin: return admin(unknown: .timedOut)
        case _ where route.isWrite:
            var failure = HTTPFailure(.serviceUnavailable, hangs + "; the write may still take effect, or not")
            failure.outcome = .unknown
            return failure
        default: return tryAgain(.serviceUnavailable, hangs)
        }
    }

    static func read(refused refusal: Refusal) -> HTTPFailure {
        switch refusal {
        case .notLeader, .noQuorum:
            .tryAgain(
                .serviceUnavailable,
                "no majority of the cluster answers, so this read cannot be linearizable now; consistency=stale reads "
                    + "what this node has")
        case .behind:
            .tryAgain(
                .serviceUnavailable,
                "this node is behind: it has not yet applied what this read must see, and the read waited as long as it "
                    + "may; consistency=stale reads what this node has")
        default: .common(refusal)
        }
    }

    private static func common(_ refusal: Refusal) -> HTTPFailure {
        switch refusal {
        case .overloaded: .tryAgain(.tooManyRequests, "the node has as many requests waiting as it may, try again")
        case .notReady(let why): .tryAgain(.serviceUnavailable, "the node is not ready: \(why)")
        case .diskFull: HTTPFailure(.insufficientStorage, "the disk of the node is full, nothing can be written")
        case .failed(let why): HTTPFailure(.serviceUnavailable, "the node has failed: \(why)")
        case .notLeader, .noQuorum: preconditionFailure("a write and a read each say this in their own way")
        case .behind: preconditionFailure("a write does not wait for the engine")
        }
    }
}
