import VikWire

/// What changes the cluster itself. A plain value, made from method and path.
package enum AdminRoute: Equatable {
    case setMember
    case remove(label: String)
    case promote(label: String)
    case handOver
    /// Of this node alone.
    case mergeTables

    /// - Parameter path: what follows `/cluster/`. Nil: no such path.
    init?(_ method: RequestMethod, _ path: Span<UInt8>) throws(HTTPFailure) {
        if path.isEqual(to: "leader") {
            guard method == .post else { throw .methodNotAllowed(.post) }
            self = .handOver
        } else if path.isEqual(to: "members") {
            guard method == .post else { throw .methodNotAllowed(.readOrPost) }
            self = .setMember
        } else if path.hasPrefix("members/") {
            let rest = path.extracting(8..<path.count)
            if let slash = rest.firstOffset(of: UInt8(ascii: "/")) {
                guard rest.extracting(slash..<rest.count).isEqual(to: "/promote") else { return nil }
                guard method == .post else { throw .methodNotAllowed(.post) }
                self = .promote(label: try Self.label(rest.extracting(..<slash)))
            } else {
                guard method == .delete else { throw .methodNotAllowed(.delete) }
                self = .remove(label: try Self.label(rest))
            }
        } else {
            return nil
        }
    }

    var hasBody: Bool { self == .setMember || self == .handOver }

    private static func label(_ name: Span<UInt8>) throws(HTTPFailure) -> String {
        guard let bytes = PercentDecoding.decode(name), let label = String(validating: bytes, as: UTF8.self),
            (1...WireLimits.maxLabelBytes).contains(bytes.count)
        else {
            throw .malformed(
                "the member in the path is not a -node-id, expected 1 to \(WireLimits.maxLabelBytes) bytes")
        }
        return label
    }
}

/// Who may change the cluster itself.
package enum AdminAccess: Sendable, Equatable {
    /// Callers on this machine.
    case loopback
    /// Everybody who reaches the listener: the one of `-admin-addr`.
    case everyone
    /// Nobody, because there is a listener for it.
    case nobody
}

extension HTTPFailure {
    static func stateHashForbidden(_ access: AdminAccess) -> HTTPFailure {
        HTTPFailure(
            .forbidden,
            access == .nobody
                ? "the state is hashed at the node's -admin-addr, not here"
                : "only callers on the node's own machine, or at its -admin-addr, may have the state hashed")
    }

    static func maintenanceForbidden(_ access: AdminAccess) -> HTTPFailure {
        HTTPFailure(
            .forbidden,
            access == .nobody
                ? "tables are merged at the node's -admin-addr, not here"
                : "only callers on the node's own machine, or at its -admin-addr, may merge tables")
    }

    static func adminForbidden(_ access: AdminAccess, knowsLeader: Bool) -> HTTPFailure {
        HTTPFailure(
            .forbidden,
            (access == .nobody
                ? "members and leader are changed at the leader's -admin-addr, not here"
                : "members and leader are changed by a caller on the leader's own machine, or at its -admin-addr")
                + (knowsLeader ? "" : "; this node knows no leader at the moment, and without one nothing is changed"))
    }

    static func admin(
        refused refusal: AdminRefusal, at access: AdminAccess, redirect: (_ leader: String?) -> HTTPFailure
    ) -> HTTPFailure {
        switch refusal {
        case .notLeader(let leader?) where access == .everyone:
            // Nodes tell each other where clients are served, which is not where this is taken.
            return HTTPFailure(
                .serviceUnavailable, "not the leader, which serves clients at \(leader): ask it at its -admin-addr")
        case .notLeader(let leader):
            var failure = redirect(leader)
            failure.outcome = nil
            return failure
        case .noSuchMember(let label): return HTTPFailure(.notFound, "no member is named \(label)")
        case .busy(let why): return .tryAgain(.serviceUnavailable, why)
        case .impossible(let why): return HTTPFailure(.conflict, why)
        case .notReady(let why): return .tryAgain(.serviceUnavailable, "the node is not ready: \(why)")
        }
    }

    static func admin(unknown reason: UnknownReason) -> HTTPFailure {
        var failure = HTTPFailure.write(unknown: reason)
        failure.message = "the change was not committed yet; it may still take effect: see /cluster/members"
        return failure
    }
}
