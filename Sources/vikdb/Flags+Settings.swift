import Logging
import VikDB
import VikWire

extension Flags {
    /// What the node is started with.
    func settings(_ logger: Logger) throws(StartError) -> NodeSettings {
        var settings = NodeSettings(logDirectory: walPath, tableDirectory: sstableDir)
        settings.replication = try replication(logger)
        settings.apiListen = addr
        settings.apiAdvertised = advertiseAddr
        settings.adminListen = adminAddr
        settings.log = LogOptions(segmentBytes: logSegmentSize)
        settings.engine.memtableMaxBytes = memtableMaxSize
        settings.engine.blockCacheBytes = blockCacheSize
        settings.engine.compression = sstableCompression
        settings.httpThreads = httpThreads

        let tick = settings.node.tickMilliseconds
        settings.node.raft.heartbeatTicks = heartbeat / tick
        settings.node.raft.electionTicks = electionTimeout.lowerBound / tick...electionTimeout.upperBound / tick
        settings.node.raft.usedStorePatienceTicks = UInt64(
            NodeSettings.usedStorePatience * electionTimeout.upperBound / tick)
        settings.node.requestWaitTicks = requestWait / tick
        settings.node.leaderWaitTicks = min(2 * electionTimeout.upperBound, requestWait) / tick
        settings.node.logTailEntries = UInt64(logTailEntries)
        settings.node.logTailBytes = UInt64(logTailBytes)
        settings.node.logRetentionMaxBytes = UInt64(logRetentionMax)
        settings.node.snapshotBytesPerSecond = snapshotRate == 0 ? nil : snapshotRate
        // What is acknowledged, or on its way, still needs a segment of the log and a table.
        settings.node.minFreeBytes = UInt64(2 * logSegmentSize + memtableMaxSize + (64 << 20))
        settings.engine.reservedBytes = settings.node.minFreeBytes / NodeOptions.reservePart

        settings.gateway.readConsistency = readConsistency
        settings.gateway.maxConnections = maxConnections
        settings.gateway.limits.maxKeyBytes = maxKeyBytes
        settings.gateway.limits.maxValueBytes = maxValueBytes
        settings.gateway.limits.maxBatchPairs = maxBatchPairs
        settings.gateway.limits.maxBatchBytes = maxBatchBytes
        settings.gateway.limits.maxRangeLimit = maxRangeLimit
        return settings
    }

    /// `-node-id` has come with one of `-cluster` and `-join`.
    private func replication(_ logger: Logger) throws(StartError) -> NodeSettings.Replication? {
        guard let nodeID else { return nil }
        let start: NodeSettings.Start
        if let join {
            start = .joining(
                NodeSettings.Join(members: join, port: replicationPort, advertised: advertiseReplication))
        } else {
            var founders = NodeSettings.Founders(
                cluster: cluster!, port: replicationPort, advertised: advertiseReplication)
            founders.bootstrapWithout = bootstrapWithout.flatMap { $0 }
            start = .founding(founders)
        }
        var replication = NodeSettings.Replication(label: nodeID, start: start)
        if let clusterSecretFile { replication.secret = try SecretFile.read(clusterSecretFile, logger) }
        return replication
    }
}
