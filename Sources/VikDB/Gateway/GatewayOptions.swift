import NIOCore
import VikWire

/// What the gateway accepts from a client. A plain value; each limit is a flag of the same name.
///
/// Limits of keys and values bind writes alone: what was written under other limits, before or at another node, is
/// read and deleted all the same, up to what any node may write.
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

    /// Largest key that a read, a range or a delete may name.
    static let maxReadKeyBytes = WireLimits.maxKeyBytes
    /// What a failure names beside it.
    static let readKeyFlag = "-max-key-bytes at most"

    /// Largest body of a PUT: the value in Base64, doubled for JSON that writes each `/` as `\/`, and room for spaces.
    var maxPutBodyBytes: Int { 2 * Base64.encodedCount(maxValueBytes) + Self.bodySlackBytes }
    /// Largest body of a batch: as for a PUT, with quotes, comma and padding for each key and value.
    var maxBatchBodyBytes: Int {
        2 * Base64.encodedCount(maxBatchBytes) + maxBatchPairs * 2 * 8 + Self.bodySlackBytes
    }
    /// Largest body of a range request: two keys.
    var maxRangeBodyBytes: Int { 4 * Base64.encodedCount(Self.maxReadKeyBytes) + Self.bodySlackBytes }

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
    /// Connections in all; beyond them ``ConnectionBudget`` has a reserve for operators and probes.
    package var maxConnections = 10_000
    /// From accepting a connection in the reserve to the end of its request's head.
    package var reservedHeadTimeout = TimeAmount.seconds(2)
    /// From accepting a connection to the end of its first request's head. A trickle does not extend it.
    package var headerTimeout = TimeAmount.seconds(10)
    /// From an answer to the end of the next request's head.
    package var idleTimeout = TimeAmount.seconds(60)
    /// From the end of a request's head to the end of its body, unless what arrives keeps ``minTransferRate``.
    package var bodyTimeout = TimeAmount.seconds(60)
    /// How long the node may take for its answer to a request: longer than it waits by itself, so that this is for one
    /// that hangs. An answer after it reaches nobody. A node sets it by what it lets requests wait.
    package var answerTimeout = TimeAmount.seconds(60)
    /// The same for what reads everything.
    package var longAnswerTimeout = TimeAmount.hours(1)
    /// How long a client may leave answers unread while more of them wait than a channel buffers, unless it takes them at
    /// ``minTransferRate``.
    package var writeTimeout = TimeAmount.seconds(30)
    /// After the times above, bodies and answers go on as long as each window of this length moves as many bytes as
    /// ``minTransferRate`` says: who is slow gets there, who trickles does not.
    package var transferWindow = TimeAmount.seconds(10)
    /// A body is cut off after this time, whatever its rate: longer than the largest one takes at the least rate.
    package var maxTransferTime = TimeAmount.minutes(30)
    /// How long a connection that will close goes on reading, so that the client sees the answer, not a reset. While the
    /// rest of a body is due it goes on by ``transferWindow``, as long as that comes.
    package var lingerTimeout = TimeAmount.seconds(1)
    /// How often a client's machine may let the kernel repeat an answer, in pauses that double, before the connection is
    /// closed: most of a minute at least. How often that is looked for.
    package var maxRepetitions = 8
    package var acknowledgementInterval = TimeAmount.seconds(30)
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
    /// Bytes a second, in each ``transferWindow``.
    static let minTransferRate = 16 << 10
    /// What the kernel may hold of an answer and not have sent (TCP_NOTSENT_LOWAT). The rest waits here, where its
    /// progress is seen: the kernel would take megabytes and report nothing for a minute.
    static let maxUnsentInKernel = 128 << 10

    /// The target has room for two keys of the largest size in Base64, percent-encoded throughout.
    static let maxTargetBytes = 40 << 10
    /// Names and values of all header fields.
    static let maxHeaderBytes = 16 << 10
    static let maxHeaderFields = 64
    /// What the parser may hold: a head, and the read that completes it.
    static let maxUnparsedBytes = 256 << 10

    package init() {}
}
