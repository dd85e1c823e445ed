import VikWire

/// What one benchmark does. A plain value; the flags are checked before it is made.
struct Plan: Sendable {
    enum Subject: Sendable {
        /// So many nodes, started in this process.
        case nodes(Int)
        /// The API addresses of a running cluster.
        case targets([HostPort])
    }

    var subject: Subject
    /// Of each measured run.
    var operations: Int
    var warmup: Int
    var runs: Int
    var clients: Int
    /// Puts a second of an open loop; nil: a closed one.
    var rate: Int?
    var keys: Int
    var valueSize: Int
    var seed: UInt64

    static let maxOperations = 1_000_000_000
    static let maxRate = 1_000_000
    /// As many connections as the gateway takes by default.
    static let maxClients = 10_000
    /// What each key must hold is kept in memory, 8 bytes a key.
    static let maxKeys = 50_000_000
    static let maxRuns = 100

    /// Said with every figure: only figures of the same mode may be compared.
    var mode: String {
        switch subject {
        case .nodes: "in process, no client hop"
        case .targets: "HTTP, JSON and Base64"
        }
    }
}
