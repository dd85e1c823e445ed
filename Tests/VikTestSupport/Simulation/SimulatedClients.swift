import NIOCore
import VikDB
import VikWire

/// A request as its client sees it, until it knows how it ended.
struct SimulatedRequest {
    enum Kind {
        /// The writes of one command; a nil value deletes.
        case write(command: ByteBuffer, items: [(key: String, value: String?)])
        case get(key: String, ReadConsistency)
        case range(start: String, end: String, limit: Int, ReadConsistency)
    }

    let client: Int
    let kind: Kind
    let call: UInt64
    let node: SimulatedNode
    let process: Int
}

/// What the clients know and wait for. A plain value.
struct ClientState {
    let sinks = (0..<3).map { _ in SimulatedSink() }
    var pending: [UInt64: SimulatedRequest] = [:]
    /// Requests that reached a process which has not answered yet, and that process.
    var unanswered: [UInt64: Int] = [:]
    var outcomes: [UInt64: Reply.Outcome] = [:]
    /// Writes that the node said have no effect.
    var refused: Set<UInt64> = []
    var isIssuing = false
    /// Where writes go first.
    var leaderHint = 0
    private var nextToken: UInt64 = 1
    let keys: [String]

    init(_ profile: SimulationProfile) {
        keys = (0..<profile.keyCount).map { "k\($0)" }
    }

    mutating func makeToken() -> UInt64 {
        defer { nextToken += 1 }
        return nextToken
    }
}

/// Values name the request that wrote them, so that each is unique; padding fills tables.
enum SimulatedValue {
    static func bytes(_ value: String, padding: Int) -> [UInt8] {
        Array(value.utf8) + Array(repeating: UInt8(ascii: "."), count: padding)
    }

    static func name(_ bytes: [UInt8]) -> String {
        String(decoding: bytes.prefix { $0 != UInt8(ascii: ".") }, as: UTF8.self)
    }
}
