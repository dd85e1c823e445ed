import Synchronization
import VikWire

/// What a node last said about itself, for any thread. Written by the node's loop once a run, read under a short lock.
package final class StatusBoard: Sendable {
    private struct State {
        var status: NodeStatus
        var counters = NodeCounters()
        var metrics = NodeMetrics()
    }

    private let state: Mutex<State>

    package init(_ status: NodeStatus) {
        state = Mutex(State(status: status))
    }

    package var status: NodeStatus { state.withLock { $0.status } }
    package var counters: NodeCounters { state.withLock { $0.counters } }
    package var metrics: NodeMetrics { state.withLock { $0.metrics } }

    /// The loop is alive: from now on the status is as old as the last call.
    package func ticked() {
        let now = MonotonicClock.nanoseconds
        state.withLock { $0.status.tickedAt = now }
    }

    func update(_ change: (inout NodeStatus) -> Void) {
        state.withLock { change(&$0.status) }
    }

    func publish(_ metrics: NodeMetrics) {
        state.withLock { $0.metrics = metrics }
    }

    func count(_ change: (inout NodeCounters) -> Void) {
        state.withLock { change(&$0.counters) }
    }
}

/// Totals since the node started.
package struct NodeCounters: Sendable, Equatable {
    /// Groups written with one sync each, and the entries in them.
    package var syncedGroups = 0
    package var syncedEntries = 0
    /// Bytes sent on replication connections, as of the last round of the node's loop.
    package var wireBytes: UInt64 = 0
    /// Snapshots sent and installed there, bytes of their records and as sent; snapshots installed here.
    package var snapshotsSent = 0
    package var snapshotRawBytes: UInt64 = 0
    package var snapshotWireBytes: UInt64 = 0
    package var snapshotsInstalled = 0
    /// Snapshots that were installed, and needed again before their receiver had caught up.
    package var snapshotsRepeated = 0
    /// Messages refused because no member sends them that keeps to Raft.
    package var peerViolations = 0

    package init() {}
}

extension NodeShell {
    var leaderHello: (label: String, apiAddress: String)? {
        guard let leader = core.leader else { return nil }
        if leader == identity.member { return (identity.label, identity.apiAddress) }
        // Whom a removed node followed last may not lead any more, and nobody tells it.
        if core.isRemoved { return nil }
        return hellos[leader].map { ($0.label, $0.apiAddress) }
    }

    func publish() {
        let leader = leaderHello
        board.update { status in
            status.role =
                switch core.role {
                case .leader: .leader
                case .follower: .follower
                case .candidate, .preCandidate: .candidate
                }
            status.term = core.term
            status.leaderID = leader?.label
            status.leaderAPIAddress = leader?.apiAddress
            status.commitIndex = core.commit
            status.appliedIndex = applied
            status.lastIndex = core.lastIndex
        }
    }

    /// The part that costs more to find out and changes slowly; once a tick.
    func publishSizes() {
        let statistics = engine.statistics
        let logBytes = log.bytesOnDisk
        let members = memberStatuses
        let firstLogIndex = core.baseIndex + 1
        let incoming = receiving?.percent
        let isDiskFull = isDiskFull
        let (diskStall, applyStall) = (diskStall, applyStall)
        let refusedFile = refusedFile
        let failure = failure.map { "\($0)" }
        let trouble: String? =
            if let failure {
                failure
            } else if core.isRemoved {
                "this node was removed from the cluster"
            } else if isRemovalNoted, core.leader == nil {
                "a member of the cluster does not know this node: it was removed, or is to be added"
            } else if let refusedBy, core.leader == nil {
                refusalText(by: refusedBy)
            } else if identity.founders.isEmpty, core.storeState != .entries {
                "joining: the leader has sent nothing yet"
            } else if let obstacle = founding?.obstacle(hasSeenTerm: core.storeState == .voted) {
                obstacle
            } else if core.storeState == .entries, !core.mayVote {
                "waiting for a majority of the others to record this node's store"
            } else {
                nil
            }
        board.update { status in
            status.memtableBytes = statistics.memtableBytes
            status.tableCount = statistics.tableCount
            status.logBytes = logBytes
            status.members = members
            status.firstLogIndex = firstLogIndex
            status.incomingSnapshotPercent = incoming
            status.isDiskFull = isDiskFull
            status.diskStall = diskStall
            status.applyStall = applyStall
            status.refusedFile = refusedFile
            status.trouble = trouble
            status.failure = failure
        }
        metrics.waitingWrites = writes.count + proposals.count
        metrics.waitingReads = reads.count
        metrics.unappliedEntries = core.commit - min(core.commit, applied)
        metrics.tables = statistics.levels.map(\.tables)
        metrics.tableBytes = statistics.levels.map(\.bytes)
        metrics.tableEntries = statistics.levels.map(\.entries)
        metrics.tableTombstones = statistics.levels.map(\.tombstones)
        metrics.isSweeping = statistics.isSweeping
        metrics.sealedMemtables = statistics.sealedMemtables
        metrics.blockCache = statistics.blockCache
        metrics.openTables = statistics.openTables
        metrics.logWrittenBytes = log.writtenBytes
        metrics.work = statistics.work
        metrics.freeBytes = freeBytes
        board.publish(metrics)
    }
}
