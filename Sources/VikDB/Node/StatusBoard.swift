import Synchronization
import VikWire

/// What a node last said about itself, for any thread. Written by the node's loop once a run, read under a short lock.
package final class StatusBoard: Sendable {
    private struct State {
        var status: NodeStatus
        var counters = NodeCounters()
    }

    private let state: Mutex<State>

    package init(_ status: NodeStatus) {
        state = Mutex(State(status: status))
    }

    package var status: NodeStatus { state.withLock { $0.status } }
    package var counters: NodeCounters { state.withLock { $0.counters } }

    func update(_ change: (inout NodeStatus) -> Void) {
        state.withLock { change(&$0.status) }
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
}

extension NodeShell {
    var leaderHello: (label: String, apiAddress: String)? {
        guard let leader = core.leader else { return nil }
        if leader == identity.member { return (identity.label, identity.apiAddress) }
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
        let trouble: String? =
            if let failure {
                "\(failure)"
            } else if let founding {
                founding.memberWithEntries != nil
                    ? "the store is empty but the cluster has data: waiting to be recorded by the leader"
                    : "first start: waiting for \(founding.missing.joined(separator: ", "))"
            } else {
                nil
            }
        board.update { status in
            status.memtableBytes = statistics.memtableBytes
            status.tableCount = statistics.tableCount
            status.logBytes = logBytes
            status.trouble = trouble
        }
    }
}
