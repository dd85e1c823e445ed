import VikWire

/// All that a node is started with. A plain value; `vikdb` makes it from its flags, `vikbench` and tests directly.
package struct NodeSettings: Sendable {
    /// Nil: a node alone, without a replication port.
    package var replication: Replication?
    /// Listen address of the HTTP API; nil: none (a benchmark in process).
    package var apiListen: HostPort?
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
        /// `-cluster`, the own entry among them.
        package var cluster: [HostPort]
        package var ownAddress: HostPort
        package var bootstrapWithout: [HostPort] = []

        package init(label: String, cluster: [HostPort], ownAddress: HostPort) {
            self.label = label
            self.cluster = cluster
            self.ownAddress = ownAddress
        }
    }

    package init(logDirectory: String, tableDirectory: String) {
        self.logDirectory = logDirectory
        self.tableDirectory = tableDirectory
    }
}
