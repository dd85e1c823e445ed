import VikDB
import VikWire

extension Flags {
    /// What the node is started with. `-cluster` and `-node-id` are given both or neither.
    func settings() throws(StartError) -> NodeSettings {
        var settings = NodeSettings(logDirectory: walPath, tableDirectory: sstableDir)
        settings.replication = try replication()
        settings.apiListen = addr
        settings.apiAdvertised = advertiseAddr
        settings.log = LogOptions(segmentBytes: logSegmentSize)
        settings.engine.memtableMaxBytes = memtableMaxSize
        settings.engine.blockCacheBytes = blockCacheSize
        settings.httpThreads = httpThreads

        let tick = settings.node.tickMilliseconds
        settings.node.raft.heartbeatTicks = heartbeat / tick
        settings.node.raft.electionTicks = electionTimeout.lowerBound / tick...electionTimeout.upperBound / tick
        settings.node.requestWaitTicks = requestWait / tick

        settings.gateway.readConsistency = readConsistency
        settings.gateway.maxConnections = maxConnections
        settings.gateway.limits.maxKeyBytes = maxKeyBytes
        settings.gateway.limits.maxValueBytes = maxValueBytes
        settings.gateway.limits.maxBatchPairs = maxBatchPairs
        settings.gateway.limits.maxBatchBytes = maxBatchBytes
        settings.gateway.limits.maxRangeLimit = maxRangeLimit
        return settings
    }

    private func replication() throws(StartError) -> NodeSettings.Replication? {
        guard let nodeID, let cluster else { return nil }
        let own = try OwnAddress.find(in: cluster, port: replicationPort, advertised: advertiseReplication)
        var replication = NodeSettings.Replication(label: nodeID, cluster: cluster, ownAddress: own)
        replication.bootstrapWithout = bootstrapWithout.flatMap { $0 }
        return replication
    }
}
