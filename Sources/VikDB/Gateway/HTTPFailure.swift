/// The statuses that VikDB answers with.
package enum HTTPStatus: Int, Sendable, CaseIterable {
    case ok = 200
    case temporaryRedirect = 307
    case badRequest = 400
    case forbidden = 403
    case notFound = 404
    case methodNotAllowed = 405
    case requestTimeout = 408
    case conflict = 409
    case contentTooLarge = 413
    case unsupportedMediaType = 415
    case expectationFailed = 417
    case tooManyRequests = 429
    case headerFieldsTooLarge = 431
    case serviceUnavailable = 503
    case insufficientStorage = 507

    /// The first line of an answer and the field that all answers share.
    var startOfHead: StaticString {
        switch self {
        case .ok: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        case .forbidden: "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n"
        case .conflict: "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\n"
        case .temporaryRedirect: "HTTP/1.1 307 Temporary Redirect\r\nContent-Type: application/json\r\n"
        case .badRequest: "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
        case .notFound: "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
        case .methodNotAllowed: "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\n"
        case .requestTimeout: "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
        case .contentTooLarge: "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\n"
        case .unsupportedMediaType: "HTTP/1.1 415 Unsupported Media Type\r\nContent-Type: application/json\r\n"
        case .expectationFailed: "HTTP/1.1 417 Expectation Failed\r\nContent-Type: application/json\r\n"
        case .tooManyRequests: "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"
        case .headerFieldsTooLarge:
            "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\n"
        case .serviceUnavailable: "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        case .insufficientStorage: "HTTP/1.1 507 Insufficient Storage\r\nContent-Type: application/json\r\n"
        }
    }
}

extension HTTPStatus {
    /// The same for the few answers that are lines of text.
    var startOfTextHead: StaticString {
        self == .ok
            ? "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            : "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    }
}

/// What became of a write that was not answered 200.
package enum WriteOutcome: String, Sendable {
    /// Surely not applied; safe to send again.
    case notApplied = "not_applied"
    /// It may still take effect.
    case unknown
}

/// Every answer but a 200, before it is rendered. A plain value.
package struct HTTPFailure: Error, Equatable, Sendable {
    package var status: HTTPStatus
    /// One sentence that names what is wrong and what would be accepted.
    package var message: String
    /// Of a write; the connection sets ``WriteOutcome/notApplied`` where a write never reached the node.
    package var outcome: WriteOutcome?
    /// Whether the same request may succeed in a moment.
    var retriesSoon = false
    var allow: StaticAllow?
    var location: String?
    /// Whether the bytes that follow can no longer be told apart from a next request.
    package var closes = false

    init(_ status: HTTPStatus, _ message: String) {
        self.status = status
        self.message = message
    }

    static func malformed(_ message: String) -> HTTPFailure {
        HTTPFailure(.badRequest, message)
    }

    /// The framing of the request is broken or ambiguous: nothing after it can be trusted.
    static func badFraming(_ message: String) -> HTTPFailure {
        var failure = HTTPFailure(.badRequest, message)
        failure.closes = true
        return failure
    }

    static func methodNotAllowed(_ allow: StaticAllow) -> HTTPFailure {
        var failure = HTTPFailure(.methodNotAllowed, "method not allowed here, expected \(allow.rawValue)")
        failure.allow = allow
        return failure
    }

    /// Past a limit: `what` is the measure of the offender, `flag` the command-line flag of the limit.
    static func tooLarge(_ what: String, limit: Int, flag: String) -> HTTPFailure {
        HTTPFailure(.contentTooLarge, "\(what), the limit is \(limit) (\(flag))")
    }

    /// The body of a request that takes none is thrown away, but not without end.
    static var bodyWithoutUse: HTTPFailure {
        var failure = HTTPFailure(
            .contentTooLarge,
            "the body has more than \(GatewayOptions.maxDiscardedBytes) bytes, and this request takes none")
        failure.closes = true
        return failure
    }

    /// Said to a client in the reserve whose request is no probe.
    static func tooManyConnections(_ limit: Int) -> HTTPFailure {
        var failure = HTTPFailure.tryAgain(
            .serviceUnavailable, "the node has as many connections as it may (\(limit), -max-connections)")
        failure.closes = true
        return failure
    }

    static func tryAgain(_ status: HTTPStatus, _ message: String) -> HTTPFailure {
        var failure = HTTPFailure(status, message)
        failure.retriesSoon = true
        return failure
    }
}

/// The `Allow` field of each kind of path.
package enum StaticAllow: String, Sendable {
    case key = "GET, HEAD, PUT, DELETE"
    case readOrPost = "GET, HEAD, POST"
    case post = "POST"
    case readOnly = "GET, HEAD"
    case delete = "DELETE"
}
