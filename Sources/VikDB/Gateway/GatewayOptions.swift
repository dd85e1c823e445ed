import NIOCore
import VikWire

/// What the gateway accepts from a client. A plain value; each limit is a flag of the same name.
package struct GatewayLimits: Sendable, Equatable {
    package var maxKeyBytes = WireLimits.maxKeyBytes
    package var maxValueBytes = WireLimits.maxValueBytes
    package var maxBatchPairs = WireLimits.maxOperationsPerCommand
    /// Bytes of keys and values in one batch.
    package var maxBatchBytes = WireLimits.maxCommandPayloadBytes
    /// Largest `limit` of a range.
    package var maxRangeLimit = 10_000
    /// Items of a range whose request names no limit.
    package var defaultRangeLimit = 1_000
    /// Bytes of keys and values in one page of a range.
    package var maxRangeBytes = 4 << 20

    package init() {}

    /// Largest body of a PUT: the value in Base64, doubled for JSON that writes each `/` as `\/`, and room for spaces.
    var maxPutBodyBytes: Int { 2 * Base64.encodedCount(maxValueBytes) + Self.bodySlackBytes }
    /// Largest body of a batch: as for a PUT, with quotes, comma and padding for each key and value.
    var maxBatchBodyBytes: Int {
        2 * Base64.encodedCount(maxBatchBytes) + maxBatchPairs * 2 * 8 + Self.bodySlackBytes
    }
    /// Largest body of a range request: two keys.
    var maxRangeBodyBytes: Int { 4 * Base64.encodedCount(maxKeyBytes) + Self.bodySlackBytes }

    private static let bodySlackBytes = 4_096

    /// A message for the first limit that the rest of VikDB could not keep, or nil.
    package var contradiction: String? {
        func outside(_ flag: String, _ value: Int, _ range: ClosedRange<Int>) -> String? {
            range.contains(value) ? nil : "\(flag) is \(value), expected \(range.lowerBound) to \(range.upperBound)"
        }
        return outside("-max-key-bytes", maxKeyBytes, 1...WireLimits.maxKeyBytes)
            ?? outside("-max-value-bytes", maxValueBytes, 1...WireLimits.maxValueBytes)
            ?? outside("-max-batch-pairs", maxBatchPairs, 1...WireLimits.maxOperationsPerCommand)
            ?? outside("-max-batch-bytes", maxBatchBytes, 1...WireLimits.maxCommandPayloadBytes)
            ?? outside("-max-range-limit", maxRangeLimit, 1...1_000_000)
    }
}

/// How the HTTP server treats its connections. A plain value.
package struct GatewayOptions: Sendable, Equatable {
    package var limits = GatewayLimits()
    /// What a read without `consistency` gets (`-read-consistency`).
    package var readConsistency = ReadConsistency.linearizable
    /// Who may change members and leader here.
    package var adminAccess = AdminAccess.loopback
    /// Connections in all; one more is answered 503 and closed.
    package var maxConnections = 10_000
    /// From accepting a connection to the end of its first request's head. A trickle does not extend it.
    package var headerTimeout = TimeAmount.seconds(10)
    /// From an answer to the end of the next request's head.
    package var idleTimeout = TimeAmount.seconds(60)
    /// From the end of a request's head to the end of its body.
    package var bodyTimeout = TimeAmount.seconds(60)
    /// How long the node may take for its answer to a request: longer than it waits by itself, so that this is for one
    /// that hangs. An answer after it reaches nobody. A node sets it by what it lets requests wait.
    package var answerTimeout = TimeAmount.seconds(60)
    /// The same for what reads everything.
    package var longAnswerTimeout = TimeAmount.hours(1)
    /// How long a client may leave answers unread while more of them wait than a channel buffers.
    package var writeTimeout = TimeAmount.seconds(30)
    /// How long a connection that will close goes on reading, so that the client sees the answer, not a reset.
    package var lingerTimeout = TimeAmount.seconds(1)
    /// Bytes of answers on one event loop that its clients have yet to take; while there are more, reads are answered
    /// 429. Answers below ``countedAnswerBytes`` do not count: the number of connections bounds them.
    package var maxUnsentBytes = 256 << 20

    /// Body bytes that are read only to be thrown away: before an answer, past them, 413; after one, the connection
    /// closes.
    static let maxDiscardedBytes = 32 << 20
    /// Bytes of half-received bodies on one event loop; past it, 429.
    static let maxCollectedBytes = 256 << 20
    static let countedAnswerBytes = 64 << 10
    /// Requests (and pieces of them) that wait behind the one in progress. Reading pauses at the first one, so this is
    /// reached only by a client that has closed its side: the kernel then hands over all that it holds.
    static let maxQueuedParts = 65_536
    /// Connections past the cap that may be receiving their 503 at one time; the next is just closed.
    static let maxRefusalsInProgress = 64

    /// The target has room for two keys of the largest size in Base64, percent-encoded throughout.
    static let maxTargetBytes = 40 << 10
    /// Names and values of all header fields.
    static let maxHeaderBytes = 16 << 10
    static let maxHeaderFields = 64
    /// What the parser may hold: a head, and the read that completes it.
    static let maxUnparsedBytes = 256 << 10

    package init() {}
}
