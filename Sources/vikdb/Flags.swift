import ArgumentParser
import Logging
import VikDB
import VikWire

/// The command line of `vikdb`. A plain value; every flag is written with one dash or two.
struct Flags: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vikdb",
        abstract: "A node of VikDB, a replicated key-value store.",
        discussion: """
            Without -node-id the node runs alone. With -node-id and -cluster it is one of the nodes that found a \
            cluster; each of them is started with the same -cluster. With -node-id and -join it becomes a member of a \
            cluster that runs already.

            SIGTERM or SIGINT stops the node, a second one ends it at once. SIGHUP and SIGPIPE are ignored. SIGQUIT, \
            SIGUSR1 and SIGUSR2 end it at once, as they do by default.

            vikdb check verifies the files of a node that is stopped, vikdb dump shows one of them as text.
            """,
        // No short name: the library would find the "h" of any misspelt flag and print the help as if asked to.
        helpNames: [.customLong("help", withSingleDash: true), .customLong("help")])

    @Option(
        name: .both("addr"),
        help: .value(
            "host:port", "Address that the HTTP API listens on; without a host: all interfaces.", default: ":8080"),
        transform: FlagValues.listenAddress)
    var addr = try! HostPort(host: "", port: 8080, forListening: true)

    // MARK: Cluster

    @Option(
        name: .both("node-id"),
        help: .value("id", "Unique name of this node in its cluster; needs -cluster or -join."),
        transform: FlagValues.label)
    var nodeID: String?

    @Option(
        name: .both("cluster"),
        help: .value(
            "host:port,…",
            "Replication addresses of all nodes that found the cluster, this one included; needs -node-id. Counts at "
                + "the first start; afterwards the stored configuration does."),
        transform: FlagValues.cluster)
    var cluster: [HostPort]?

    @Option(
        name: .both("join"),
        help: .value(
            "host:port,…",
            "Replication addresses of some members of a cluster that this node is to become a member of; in place of "
                + "-cluster. Counts until the node is one."),
        transform: FlagValues.addresses)
    var join: [HostPort]?

    @Option(
        name: .both("replication-port"),
        help: .value(
            "port", "Port of this node's own entry of -cluster, or with -join of the address to add it with.",
            default: "8081"),
        transform: FlagValues.number(1...65_535))
    var replicationPort = 8081

    @Option(
        name: .both("advertise-addr"),
        help: .value(
            "host:port",
            "API address that clients are redirected to while this node leads. Default: -addr, with the host of the own "
                + "entry of -cluster where -addr has none."),
        transform: FlagValues.address)
    var advertiseAddr: HostPort?

    @Option(
        name: .both("admin-addr"),
        help: .value(
            "host:port",
            "Address where alone members and leader can be changed. Default: at -addr, for callers on this machine."),
        transform: FlagValues.listenAddress)
    var adminAddr: HostPort?

    @Option(
        name: .both("advertise-replication"),
        help: .value(
            "host:port",
            "The entry of -cluster that is this node, or with -join the address to add it with, where "
                + "-replication-port does not settle it."),
        transform: FlagValues.address)
    var advertiseReplication: HostPort?

    @Option(
        name: .both("cluster-secret-file"),
        help: .value(
            "path",
            "File with a secret, the same on all nodes, which nodes prove to each other that they know; "
                + "\(ClusterSecret.byteCount.lowerBound) to \(ClusterSecret.byteCount.upperBound) bytes."),
        transform: FlagValues.file)
    var clusterSecretFile: String?

    @Option(
        name: .both("bootstrap-without"),
        help: .value(
            "host:port,…", "Entries of -cluster that the very first start does not wait for; may be repeated."),
        transform: FlagValues.addresses)
    var bootstrapWithout: [[HostPort]] = []

    // MARK: Storage

    @Option(
        name: .both("wal-path"),
        help: .value("directory", "Directory of the replicated log, the only write-ahead log.", default: "./data/wal"),
        transform: FlagValues.directory)
    var walPath = "./data/wal"

    @Option(
        name: .both("sstable-dir"),
        help: .value("directory", "Directory of the sorted tables.", default: "./data/sstables"),
        transform: FlagValues.directory)
    var sstableDir = "./data/sstables"

    @Option(
        name: .both("memtable-max-size"),
        help: .value(
            "bytes", "Bytes of writes held in memory before they go to a table.",
            default: "\(EngineOptions().memtableMaxBytes)"),
        transform: FlagValues.number(EngineOptions.minMemtableBytes...Memtable.maxCapacity))
    var memtableMaxSize = EngineOptions().memtableMaxBytes

    @Option(
        name: .both("sstable-compression"),
        help: .value(
            "none|zlib",
            "How new tables are stored. Tables of both kinds are read, and a merge writes them anew.", default: "none"),
        transform: FlagValues.compression)
    var sstableCompression = BlockCompression.none

    @Option(
        name: .both("block-cache-size"),
        help: .value("bytes", "Bytes of table blocks kept in memory.", default: "\(EngineOptions().blockCacheBytes)"),
        transform: FlagValues.number(0...1 << 40))
    var blockCacheSize = EngineOptions().blockCacheBytes

    @Option(
        name: .both("log-segment-size"),
        help: .value("bytes", "Bytes of a segment file of the log.", default: "\(LogOptions().segmentBytes)"),
        transform: FlagValues.number(4_096...1 << 30))
    var logSegmentSize = LogOptions().segmentBytes

    @Option(
        name: .both("log-tail-entries"),
        help: .value(
            "entries", "Newest entries of the log kept for slow followers although the tables hold them.",
            default: "\(NodeOptions().logTailEntries)"),
        transform: FlagValues.number(0...1 << 40))
    var logTailEntries = Int(NodeOptions().logTailEntries)

    @Option(
        name: .both("log-tail-bytes"),
        help: .value("bytes", "The most bytes of them.", default: "\(NodeOptions().logTailBytes)"),
        transform: FlagValues.number(0...1 << 40))
    var logTailBytes = Int(NodeOptions().logTailBytes)

    @Option(
        name: .both("log-retention-max"),
        help: .value(
            "bytes",
            "Size of the log up to which it keeps what a follower that answers still needs; doubled with each snapshot in "
                + "a row that the log outruns.",
            default: "\(NodeOptions().logRetentionMaxBytes)"),
        transform: FlagValues.number(0...1 << 50))
    var logRetentionMax = Int(NodeOptions().logRetentionMaxBytes)

    @Option(
        name: .both("snapshot-rate"),
        help: .value(
            "bytes",
            "Bytes of records a second, before compression, that a snapshot is sent with; doubled likewise; 0: no limit.",
            default: "33554432"),
        transform: FlagValues.number(0...1 << 40))
    var snapshotRate = 33_554_432

    // MARK: Time

    @Option(
        name: .both("heartbeat"),
        help: .value("ms", "Time between a leader's heartbeats.", default: "50"),
        transform: FlagValues.milliseconds(10...60_000))
    var heartbeat = 50

    @Option(
        name: .both("election-timeout"),
        help: .value(
            "ms-ms", "How long a node waits for a leader before it stands for election: a random time in this range.",
            default: "300-600"),
        transform: FlagValues.millisecondRange)
    var electionTimeout = 300...600

    @Option(
        name: .both("request-wait"),
        help: .value("ms", "The longest that a request waits for a majority.", default: "5000"),
        transform: FlagValues.milliseconds(10...600_000))
    var requestWait = 5_000

    // MARK: API

    @Option(
        name: .both("read-consistency"),
        help: .value(
            "linearizable|stale",
            "What a read that does not say gets: up to date, or at once from this node's own state.",
            default: "linearizable"),
        transform: FlagValues.readConsistency)
    var readConsistency = ReadConsistency.linearizable

    @Option(
        name: .both("max-key-bytes"),
        help: .value("bytes", "Largest key that is written here.", default: "\(GatewayLimits().maxKeyBytes)"),
        transform: FlagValues.number(1...WireLimits.maxKeyBytes))
    var maxKeyBytes = GatewayLimits().maxKeyBytes

    @Option(
        name: .both("max-value-bytes"),
        help: .value("bytes", "Largest value that is written here.", default: "\(GatewayLimits().maxValueBytes)"),
        transform: FlagValues.number(1...WireLimits.maxValueBytes))
    var maxValueBytes = GatewayLimits().maxValueBytes

    @Option(
        name: .both("max-batch-pairs"),
        help: .value("pairs", "Most pairs of one batch.", default: "\(GatewayLimits().maxBatchPairs)"),
        transform: FlagValues.number(1...WireLimits.maxOperationsPerCommand))
    var maxBatchPairs = GatewayLimits().maxBatchPairs

    @Option(
        name: .both("max-batch-bytes"),
        help: .value(
            "bytes", "Most bytes of keys and values in one batch.", default: "\(GatewayLimits().maxBatchBytes)"),
        transform: FlagValues.number(1...WireLimits.maxCommandPayloadBytes))
    var maxBatchBytes = GatewayLimits().maxBatchBytes

    @Option(
        name: .both("max-range-limit"),
        help: .value("items", "Most items of one range.", default: "\(GatewayLimits().maxRangeLimit)"),
        transform: FlagValues.number(1...1_000_000))
    var maxRangeLimit = GatewayLimits().maxRangeLimit

    @Option(
        name: .both("max-connections"),
        help: .value(
            "count",
            "Most API connections at a time, at -addr and -admin-addr together; fewer where the limit of file "
                + "descriptors is lower. Beside them there is a reserve for -admin-addr and probes.",
            default: "\(GatewayOptions().maxConnections)"),
        transform: FlagValues.number(1...1_000_000))
    var maxConnections = GatewayOptions().maxConnections

    @Option(
        name: .both("http-threads"), help: .value("count", "Threads that serve the API.", default: "1"),
        transform: FlagValues.number(1...64))
    var httpThreads = 1

    // MARK: Program

    @Option(
        name: .both("log-level"),
        help: .value(
            "level",
            "Least important messages that are logged, to standard error: trace, debug, info, notice, "
                + "warning, error or critical.", default: "info"),
        transform: FlagValues.logLevel)
    var logLevel = Logger.Level.info

    @Flag(name: .both("version"), help: "Print the version.")
    var version = false

    func validate() throws {
        if version { return }
        if cluster != nil, join != nil {
            throw ValidationError(
                "-cluster and -join are both given: -cluster founds a cluster, -join makes the node a member of another"
            )
        }
        if nodeID != nil, cluster == nil, join == nil {
            throw ValidationError(
                "-node-id is given without -cluster or -join: replication needs it and one of them, a node alone none")
        }
        if nodeID == nil, cluster != nil {
            throw ValidationError("-cluster is given without -node-id: replication needs both, a node alone neither")
        }
        if nodeID == nil, join != nil {
            throw ValidationError("-join is given without -node-id: the cluster knows a new member by its -node-id")
        }
        if let cluster, let stranger = bootstrapWithout.joined().first(where: { !cluster.contains($0) }) {
            throw ValidationError("-bootstrap-without \(stranger) is not an entry of -cluster")
        }
        if cluster == nil, !bootstrapWithout.isEmpty { throw ValidationError("-bootstrap-without needs -cluster") }
        if nodeID == nil {
            if advertiseReplication != nil { throw ValidationError("-advertise-replication needs -cluster or -join") }
            if clusterSecretFile != nil { throw ValidationError("-cluster-secret-file needs -cluster or -join") }
        }
        // A leader must be able to miss a beat without losing its office.
        guard electionTimeout.lowerBound >= 2 * heartbeat else {
            throw ValidationError(
                "-election-timeout \(electionTimeout.lowerBound)-\(electionTimeout.upperBound) is too short for "
                    + "-heartbeat \(heartbeat): its lower end must be at least twice as long")
        }
        guard walPath != sstableDir else {
            throw ValidationError("-wal-path and -sstable-dir are both \(walPath): they must be two directories")
        }
    }
}

extension NameSpecification {
    /// `-name`, as VikDB's guide writes flags, and `--name`.
    static func both(_ name: String) -> NameSpecification {
        [.customLong(name, withSingleDash: true), .customLong(name)]
    }
}

extension ArgumentHelp {
    /// - Parameter value: the default, which the library shows only for values that it reads by itself.
    static func value(_ name: String, _ text: String, default value: String? = nil) -> ArgumentHelp {
        ArgumentHelp(value.map { "\(text) (default: \($0))" } ?? text, valueName: name)
    }
}
