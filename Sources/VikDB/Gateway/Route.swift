/// The methods that VikDB knows.
package enum RequestMethod: Equatable {
    case get, head, put, post, delete, other
}

/// What a request asks for, as far as its method and target say. A plain value, made before the body is read.
package enum Route: Equatable {
    case put(key: [UInt8])
    case delete(key: [UInt8])
    case get(key: [UInt8], ReadConsistency?)
    case batch
    case range(RangeRequest)
    /// The range stands in the body.
    case rangeInBody(ReadConsistency?)
    case health
    case clusterStatus
    case stateHash(ReadConsistency?)
    case members
    case admin(AdminRoute)
    /// Answered with lines of text, for machines that watch.
    case metrics
    case livez
    case readyz

    /// Reads a method and a target in origin form, `/path?query`.
    package init(_ method: RequestMethod, _ target: String, _ limits: GatewayLimits) throws(HTTPFailure) {
        let bytes = target.utf8.span
        let mark = bytes.firstOffset(of: UInt8(ascii: "?")) ?? bytes.count
        let path = bytes.extracting(..<mark)
        let query = bytes.extracting(min(mark + 1, bytes.count)..<bytes.count)
        if path.hasPrefix("/kv/") {
            let name = path.extracting(4..<path.count)
            if name.isEqual(to: "range") {
                self = try Self.range(method, query, limits)
            } else if name.isEqual(to: "batch") {
                guard method == .post else { throw .methodNotAllowed(.post) }
                try Self.refuseParameters(query)
                self = .batch
            } else {
                self = try Self.key(method, name, query)
            }
        } else if let route = Self.readOnly(path) {
            guard method == .get || method == .head || route == .members && method == .post else {
                throw .methodNotAllowed(route == .members ? .readOrPost : .readOnly)
            }
            if method == .post { try Self.refuseParameters(query) }
            self = method == .post ? .admin(.setMember) : route
        } else if path.isEqual(to: "/cluster/state-hash") {
            guard method == .get || method == .head else { throw .methodNotAllowed(.readOnly) }
            self = .stateHash(try Self.consistency(query))
        } else if path.isEqual(to: "/maintenance/merge") {
            guard method == .post else { throw .methodNotAllowed(.post) }
            try Self.refuseParameters(query)
            self = .admin(.mergeTables)
        } else if path.hasPrefix("/cluster/"),
            let route = try AdminRoute(method, path.extracting(9..<path.count))
        {
            try Self.refuseParameters(query)
            self = .admin(route)
        } else {
            throw HTTPFailure(
                .notFound,
                "no such path, expected /kv/:key, /kv/range, /kv/batch, /health, /livez, /readyz, /metrics, "
                    + "/cluster/status, /cluster/members, /cluster/leader, /cluster/state-hash or /maintenance/merge")
        }
    }

    private static func readOnly(_ path: Span<UInt8>) -> Route? {
        if path.isEqual(to: "/health") { return .health }
        if path.isEqual(to: "/cluster/status") { return .clusterStatus }
        if path.isEqual(to: "/cluster/members") { return .members }
        if path.isEqual(to: "/metrics") { return .metrics }
        if path.isEqual(to: "/livez") { return .livez }
        if path.isEqual(to: "/readyz") { return .readyz }
        return nil
    }

    /// What others than operators are answered, where they have no business: with changes of the cluster, and with
    /// reading everything.
    func failureForOthers(_ access: AdminAccess, knowsLeader: @autoclosure () -> Bool) -> HTTPFailure? {
        switch self {
        case .admin(.mergeTables): .maintenanceForbidden(access)
        case .admin: .adminForbidden(access, knowsLeader: knowsLeader())
        case .stateHash: .stateHashForbidden(access)
        default: nil
        }
    }

    /// Whether the node reads all that it has for it.
    var readsEverything: Bool {
        if case .stateHash = self { true } else { false }
    }

    /// What machines ask that watch the node: it has a reserve of connections for them.
    var isProbe: Bool {
        switch self {
        case .livez, .readyz, .metrics, .health: true
        default: false
        }
    }

    var isWrite: Bool {
        switch self {
        case .put, .delete, .batch: true
        case .get, .range, .rangeInBody, .health, .clusterStatus, .stateHash, .members, .admin, .metrics, .livez,
            .readyz:
            false
        }
    }

    /// Why this node, with its limits, does not write what the path names. Another node may have others, so this is not
    /// asked of a request that is sent on.
    package func refusal(_ limits: GatewayLimits) -> HTTPFailure? {
        guard case .put(let key) = self, key.count > limits.maxKeyBytes else { return nil }
        return .tooLarge("the key is \(key.count) bytes", limit: limits.maxKeyBytes, flag: "-max-key-bytes")
    }

    /// Nil: the route reads no body.
    func bodyLimit(_ limits: GatewayLimits) -> BodyLimit? {
        switch self {
        case .put: BodyLimit(bytes: limits.maxPutBodyBytes, cause: limits.maxValueBytes, flag: "-max-value-bytes")
        case .batch:
            BodyLimit(bytes: limits.maxBatchBodyBytes, cause: limits.maxBatchBytes, flag: "-max-batch-bytes")
        case .rangeInBody:
            BodyLimit(
                bytes: limits.maxRangeBodyBytes, cause: GatewayLimits.maxReadKeyBytes, flag: GatewayLimits.readKeyFlag)
        case .admin(let route) where route.hasBody:
            BodyLimit(bytes: Self.maxAdminBodyBytes, cause: Self.maxAdminBodyBytes, flag: "fixed")
        case .delete, .get, .range, .health, .clusterStatus, .stateHash, .members, .admin, .metrics, .livez, .readyz:
            nil
        }
    }

    /// Far more than a label and an address need.
    private static let maxAdminBodyBytes = 8_192

    /// Brings a target to origin form; HTTP/1.1 servers accept absolute form as well (RFC 9112, 3.2.2).
    package static func originForm(_ target: String) throws(HTTPFailure) -> String {
        guard target.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") }) else {
            throw .malformed("the target has characters that must be percent-encoded")
        }
        if target.utf8.first == UInt8(ascii: "/") { return target }
        for scheme in ["http://", "https://"] where target.prefix(scheme.count).lowercased() == scheme {
            let authority = target.dropFirst(scheme.count)
            let path = authority.drop { $0 != "/" && $0 != "?" }
            return path.first == "/" ? String(path) : "/" + path
        }
        throw .malformed("the target is not a path, expected /path or http://host/path")
    }

    private static func range(
        _ method: RequestMethod, _ query: Span<UInt8>, _ limits: GatewayLimits
    ) throws(HTTPFailure) -> Route {
        switch method {
        case .get, .head: .range(try RangeRequest(query: query, limits))
        case .post: .rangeInBody(try consistency(query))
        case .put, .delete, .other: throw .methodNotAllowed(.readOrPost)
        }
    }

    private static func key(
        _ method: RequestMethod, _ name: Span<UInt8>, _ query: Span<UInt8>
    ) throws(HTTPFailure) -> Route {
        guard method != .post, method != .other else { throw .methodNotAllowed(.key) }
        let key = try decodedKey(name)
        guard !key.isEmpty else {
            throw .malformed(
                "the key in the path is empty, expected 1 to \(GatewayLimits.maxReadKeyBytes) bytes in Base64")
        }
        guard key.count <= GatewayLimits.maxReadKeyBytes else {
            throw .tooLarge(
                "the key is \(key.count) bytes", limit: GatewayLimits.maxReadKeyBytes, flag: GatewayLimits.readKeyFlag)
        }
        switch method {
        case .put:
            try refuseParameters(query)
            return .put(key: key)
        case .delete:
            try refuseParameters(query)
            return .delete(key: key)
        default:
            return .get(key: key, try consistency(query))
        }
    }

    private static func decodedKey(_ name: Span<UInt8>) throws(HTTPFailure) -> [UInt8] {
        guard name.firstOffset(of: UInt8(ascii: "/")) == nil else { throw notBase64("it has a \"/\"") }
        guard name.firstOffset(of: UInt8(ascii: "%")) != nil else { return try decodedBase64(name) }
        guard let text = PercentDecoding.decode(name) else {
            throw notBase64("it has a \"%\" that two hexadecimal digits do not follow")
        }
        return try decodedBase64(text.span)
    }

    private static func decodedBase64(_ text: Span<UInt8>) throws(HTTPFailure) -> [UInt8] {
        do {
            return try Base64.decode(text, .either)
        } catch {
            throw notBase64(error.sentence)
        }
    }

    private static func notBase64(_ why: String) -> HTTPFailure {
        .malformed(
            "the key in the path is not Base64 (\(why)), expected the URL-safe alphabet, or the standard one with "
                + "\"/\" as %2F")
    }

    private static func consistency(_ query: Span<UInt8>) throws(HTTPFailure) -> ReadConsistency? {
        guard !query.isEmpty else { return nil }
        var parameters = QueryParameters(["consistency"])
        guard let parameter = try parameters.next(in: query) else { return nil }
        let consistency = try ReadConsistency(parameter: parameter.value)
        _ = try parameters.next(in: query)
        return consistency
    }

    /// A parameter of a write may be a condition that a later version knows: never ignored.
    private static func refuseParameters(_ query: Span<UInt8>) throws(HTTPFailure) {
        guard !query.isEmpty else { return }
        var parameters = QueryParameters([])
        _ = try parameters.next(in: query)
    }
}

/// The largest body that a route reads, which follows from what it may hold.
struct BodyLimit {
    var bytes: Int
    /// The limit it follows from, and that limit's flag.
    var cause: Int
    var flag: String

    /// Such a body is not read to its end, so the connection closes.
    var failure: HTTPFailure {
        var failure = HTTPFailure(
            .contentTooLarge,
            "the body has more than \(bytes) bytes, which is more than the limit of \(cause) (\(flag)) can need")
        failure.closes = true
        return failure
    }
}
