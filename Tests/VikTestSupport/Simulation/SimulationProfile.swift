import VikDB

/// What one run is made of: sizes, limits, and how hostile its world is. A plain value, drawn from the seed; each run
/// has some of the faults, so that all combinations occur over many seeds. Times are microseconds.
package struct SimulationProfile: Sendable {
    package var seed: UInt64
    package var nodeCount = 3
    /// Machines that may be added to the cluster.
    package var spareCount = 0
    /// How long the faults last.
    package var faultyTime: UInt64 = 6_000_000
    package var faults: [Fault] = []
    package var faultPause: ClosedRange<UInt64> = 50_000...600_000
    /// Faults begin only once the cluster is founded.
    package var isFoundingCalm = true

    // The network. Chances are in a thousand.
    package var lossChance = 0
    package var duplicationChance = 0
    package var delay: ClosedRange<UInt64> = 50...400
    package var longDelayChance = 0
    package var longDelay: ClosedRange<UInt64> = 5_000...100_000
    /// Messages of one direction and channel arrive in order.
    package var isOrdered = true
    package var usesCodec = false

    // The clients.
    package var clientCount = 6
    package var keyCount = 6
    package var thinkTime: ClosedRange<UInt64> = 0...40_000
    package var maxPaddingBytes = 1_500

    // The nodes.
    package var logOptions = LogOptions(segmentBytes: 16 << 10)
    package var engineOptions = EngineOptions()
    package var nodeOptions = NodeOptions()
    package var syncTime: ClosedRange<UInt64> = 100...2_000

    /// What may go wrong, in seeded order.
    package enum Fault: CaseIterable, Sendable {
        case crash
        case crashMany
        /// Down for long: others may be added, removed and replaced meanwhile.
        case leave
        case stop
        case pause
        case slowDisk
        case diskError
        case isolate
        case split
        case oneWay
        case bridge
        case wipe
        case zombie
        case cutSnapshots
        /// Entries do not get through, all else does.
        case cutAppends
        case changeMembers
        /// While one member is away for long, another is replaced by a new one.
        case replaceMember
        /// The only other voter is removed while reads wait for its confirmation.
        case shrinkQuorum
        case handOver
    }

    /// A calm world of `nodeCount` nodes with small files and caches, for scenarios that bring their own faults.
    package init(seed: UInt64, nodeCount: Int) {
        self.seed = seed
        self.nodeCount = nodeCount
        engineOptions.memtableMaxBytes = EngineOptions.minMemtableBytes
        engineOptions.blockCacheBytes = 8 << 10
        engineOptions.blockBytes = 512
        engineOptions.maxTableBytes = 32 << 10
        engineOptions.level0MergeTables = 2
        engineOptions.level0SlowdownTables = 3
        engineOptions.level0StallTables = 4
        engineOptions.level1Bytes = 64 << 10
        engineOptions.levelRatio = 2
        engineOptions.mergeSliceBytes = 16 << 10
        nodeOptions.raft.electionTicks = 10...20
        nodeOptions.raft.heartbeatTicks = 2
        nodeOptions.raft.usedStorePatienceTicks = 200
        nodeOptions.raft.entryCacheBytes = 8 << 10
        nodeOptions.raft.maxInflightAppends = 8
        nodeOptions.raft.maxInflightBytes = 64 << 10
        nodeOptions.raft.appendBytes = 4 << 10
        nodeOptions.requestWaitTicks = 80
        nodeOptions.leaderWaitTicks = 40
        nodeOptions.housekeepingTicks = 15
        nodeOptions.maxApplyEntries = 16
        nodeOptions.minFreeBytes = 0
        nodeOptions.logTailEntries = 1_000
        nodeOptions.snapshotChunkBytes = 2_048
        nodeOptions.snapshotWindow = 4
        nodeOptions.snapshotOfferTicks = 20
        nodeOptions.snapshotPatienceTicks = 300
    }

    /// The world of a seed.
    package init(seed: UInt64) {
        var random = SplitMix64(seed: seed ^ 0x5eed_0f_ca11)
        self.init(seed: seed, nodeCount: [3, 3, 3, 3, 3, 2, 5, 5, 7, 2, 1, 2].randomElement(using: &random)!)
        func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

        faultyTime = .random(in: 3_000_000...8_000_000, using: &random)
        faults = Fault.allCases.filter { _ in chance(45) }
        if nodeCount == 1 { faults.removeAll { $0 == .replaceMember } }
        let changes: [Fault] = [.changeMembers, .replaceMember, .shrinkQuorum]
        if faults.contains(where: changes.contains), nodeCount > 1 {
            // Who is taken away for good, and whose disk is lost, must not be the same majority.
            faults.removeAll { $0 == .wipe || $0 == .zombie }
            spareCount = .random(in: 1...2, using: &random)
        }
        faultPause = [30_000...200_000, 50_000...600_000, 300_000...1_500_000].randomElement(using: &random)!
        isFoundingCalm = chance(80)

        lossChance = [0, 0, 5, 30, 100, 300].randomElement(using: &random)!
        duplicationChance = [0, 0, 20, 200].randomElement(using: &random)!
        delay = [20...100, 50...400, 50...400, 500...5_000, 100...20_000, 10_000...120_000]
            .randomElement(using: &random)!
        longDelayChance = [0, 5, 50].randomElement(using: &random)!
        longDelay = [5_000...50_000, 20_000...400_000].randomElement(using: &random)!
        isOrdered = chance(40)
        usesCodec = chance(50)

        clientCount = .random(in: 2...10, using: &random)
        keyCount = .random(in: 2...8, using: &random)
        thinkTime = [0...5_000, 0...40_000, 10_000...100_000].randomElement(using: &random)!
        maxPaddingBytes = [20, 1_500, 4_000].randomElement(using: &random)!

        logOptions = LogOptions(segmentBytes: [4 << 10, 16 << 10, 64 << 10].randomElement(using: &random)!)
        engineOptions.blockCacheBytes = [0, 8 << 10, 1 << 20].randomElement(using: &random)!
        nodeOptions.raft.entryCacheBytes = [0, 4 << 10, 256 << 10].randomElement(using: &random)!
        nodeOptions.raft.maxInflightAppends = [1, 3, 16].randomElement(using: &random)!
        nodeOptions.raft.maxInflightBytes = [1 << 10, 16 << 10, 1 << 20].randomElement(using: &random)!
        nodeOptions.raft.appendBytes = [256, 4 << 10, 64 << 10].randomElement(using: &random)!
        nodeOptions.raft.maxUncommittedBytes = [8 << 10, 1 << 20].randomElement(using: &random)!
        nodeOptions.maxApplyEntries = [1, 4, 64].randomElement(using: &random)!
        nodeOptions.maxReadsPerJob = [1, 4, 64].randomElement(using: &random)!
        nodeOptions.maxUnappliedEntries = [8, 1_000].randomElement(using: &random)!
        nodeOptions.requestWaitTicks = [30, 80, 200].randomElement(using: &random)!
        nodeOptions.logTailEntries = [0, 5, 50, 1_000].randomElement(using: &random)!
        nodeOptions.logTailBytes = [0, 8 << 10, 1 << 20].randomElement(using: &random)!
        nodeOptions.logRetentionMaxBytes = [0, 64 << 10, 1 << 30].randomElement(using: &random)!
        nodeOptions.snapshotWindow = [1, 2, 8].randomElement(using: &random)!
        nodeOptions.snapshotChunkBytes = [256, 2_048, 256 << 10].randomElement(using: &random)!
        nodeOptions.snapshotBytesPerSecond = [nil, 200 << 10].randomElement(using: &random)!
        engineOptions.maxUnflushedLogBytes = [4 << 10, 64 << 10].randomElement(using: &random)!
        nodeOptions.leaderWaitTicks = min(40, nodeOptions.requestWaitTicks)
        syncTime = [10...100, 100...2_000, 1_000...20_000].randomElement(using: &random)!
        nodeOptions.slowedBytesPerSecond = [20 << 10, 200 << 10, 16 << 20].randomElement(using: &random)!
    }
}
