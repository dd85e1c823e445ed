import NIOCore
import VikWire

/// All that a node is started with. A plain value; `vikdb` makes it from its flags, `vikbench` and tests directly.
package struct NodeSettings: Sendable {
    /// ``RaftOptions/usedStorePatienceTicks`` in longest election timeouts.
    package static let usedStorePatience = 100

    /// Nil: a node alone, without a replication port.
    package var replication: Replication?
    /// Listen address of the HTTP API; nil: none (a benchmark in process).
    package var apiListen: HostPort?
    /// `-admin-addr`: where alone members and leader may be changed; nil: at the API, from this machine.
    package var adminListen: HostPort?
    /// `-advertise-addr`: what clients are redirected to.
    package var apiAdvertised: HostPort?
    package var logDirectory: String
    package var tableDirectory: String
    package var log = LogOptions()
    package var engine = EngineOptions()
    package var node = NodeOptions()
    package var gateway = GatewayOptions()
    /// Event loops for HTTP connections, apart from the node's own loop.
    package var httpThreads = 1
    package var readThreads = 2
    /// Of election timeouts, the store id of a new store, and back-off; nil: random.
    package var seed: UInt64?

    package struct Replication: Sendable {
        /// `-node-id`
        package var label: String
        package var start: Start
        /// Of `-cluster-secret-file`; nil: whoever reaches the replication port is trusted.
        package var secret: ClusterSecret?

        package init(label: String, start: Start) {
            self.label = label
            self.start = start
        }

        package init(label: String, cluster: [HostPort], ownAddress: HostPort) {
            self.init(
                label: label,
                start: .founding(Founders(cluster: cluster, port: ownAddress.port, advertised: ownAddress)))
        }
    }

    /// How a store that remembers no cluster gets into one; afterwards what it remembers counts (design rule 8).
    package enum Start: Sendable {
        case founding(Founders)
        case joining(Join)
    }

    package struct Founders: Sendable {
        /// `-cluster`, the own entry among them.
        package var cluster: [HostPort]
        /// `-replication-port`
        package var port: Int
        /// `-advertise-replication`
        package var advertised: HostPort?
        package var bootstrapWithout: [HostPort] = []

        package init(cluster: [HostPort], port: Int, advertised: HostPort? = nil) {
            self.cluster = cluster
            self.port = port
            self.advertised = advertised
        }
    }

    package struct Join: Sendable {
        /// `-join`: any members of the cluster.
        package var members: [HostPort]
        /// `-replication-port` and `-advertise-replication`, for the line that tells how to add this node.
        package var port: Int
        package var advertised: HostPort?

        package init(members: [HostPort], port: Int, advertised: HostPort? = nil) {
            self.members = members
            self.port = port
            self.advertised = advertised
        }
    }

    /// Beyond all the time that the node itself lets a request wait: for a leader, then for a majority.
    var answerTimeout: TimeAmount {
        .milliseconds(Int64((node.leaderWaitTicks + node.requestWaitTicks) * node.tickMilliseconds)) + Self.answerMargin
    }

    private static let answerMargin = TimeAmount.seconds(2)

    package init(logDirectory: String, tableDirectory: String) {
        self.logDirectory = logDirectory
        self.tableDirectory = tableDirectory
    }
}
