import NIOCore
import Synchronization
import VikDB
import VikWire

/// A node for the gateway's tests: a dictionary, whose next outcome can be dictated and whose replies can be held back.
/// Any thread.
final class ScriptedService: KeyValueService {
    private struct State {
        var values: [[UInt8]: StoredValue] = [:]
        var index: LogIndex = 1
        var status: NodeStatus
        var metrics = NodeMetrics()
        var dictated: Reply.Outcome?
        var isHolding = false
        var held: [(Reply, any ReplySink)] = []
        var writes = 0
        var consistencies: [ReadConsistency] = []
        var wishes: [AdminRequest] = []
    }

    private let state: Mutex<State>

    init() {
        state = Mutex(State(status: Self.leader))
    }

    static let leader = NodeStatus(
        isReplicated: true, nodeID: "node1", role: .leader, term: 3, leaderID: "node1",
        leaderAPIAddress: "10.0.0.1:8080", commitIndex: 9, appliedIndex: 8, lastIndex: 10, memtableBytes: 11,
        logBytes: 12, tableCount: 13)

    static func follower(of address: String?) -> NodeStatus {
        NodeStatus(
            isReplicated: true, nodeID: "node2", role: .follower, term: 3, leaderID: address.map { _ in "node1" },
            leaderAPIAddress: address)
    }

    var status: NodeStatus {
        get { state.withLock { $0.status } }
        set { state.withLock { $0.status = newValue } }
    }

    var metrics: NodeMetrics {
        get { state.withLock { $0.metrics } }
        set { state.withLock { $0.metrics = newValue } }
    }

    /// Every request is answered so, until nil.
    var dictated: Reply.Outcome? {
        get { state.withLock { $0.dictated } }
        set { state.withLock { $0.dictated = newValue } }
    }

    var writes: Int { state.withLock { $0.writes } }
    var consistencies: [ReadConsistency] { state.withLock { $0.consistencies } }
    var heldCount: Int { state.withLock { $0.held.count } }
    var contents: [[UInt8]: StoredValue] { state.withLock { $0.values } }

    func hold() {
        state.withLock { $0.isHolding = true }
    }

    /// Delivers what was held back, in one batch for each sink.
    func release() {
        let held = state.withLock { state in
            defer { state.held = [] }
            state.isHolding = false
            return state.held
        }
        for (_, replies) in Dictionary(grouping: held, by: { ObjectIdentifier($0.1) }) {
            replies[0].1.deliver(replies.map(\.0))
        }
    }

    func fill(_ pairs: [[UInt8]: [UInt8]]) {
        state.withLock { $0.values = pairs.mapValues { StoredValue(bytes: $0, version: 1) } }
    }

    func write(_ command: ByteBuffer, token: UInt64, replyTo sink: any ReplySink) {
        reply(token, sink) { state in
            state.index += 1
            state.writes += 1
            let index = state.index
            var changes: [([UInt8], [UInt8]?)] = []
            let count = try! Command.forEachOperation(in: command) { _, key, value in
                changes.append((Array(key), value.map { Array($0) }))
            }
            for (key, value) in changes {
                state.values[key] = value.map { StoredValue(bytes: $0, version: index) }
            }
            return .written(version: index, result: .applied(operations: count))
        }
    }

    func read(_ query: Query, _ consistency: ReadConsistency, token: UInt64, replyTo sink: any ReplySink) {
        reply(token, sink) { state in
            state.consistencies.append(consistency)
            switch query {
            case .get(let key):
                return .answered(.value(state.values[key]), index: state.index)
            case .stateHash: return .answered(.stateHash(0x0123_4567_89AB_CDEF), index: state.index)
            case .range(let start, let end, let limit, let maxBytes):
                let keys = state.values.keys.filter {
                    !$0.lexicographicallyPrecedes(start) && (end.isEmpty || $0.lexicographicallyPrecedes(end))
                }.sorted { $0.lexicographicallyPrecedes($1) }
                var items: [RangePage.Item] = []
                var bytes = 0
                for key in keys {
                    let value = state.values[key]!.bytes
                    bytes += key.count + value.count
                    if items.count == limit || (bytes > maxBytes && !items.isEmpty) {
                        return .answered(.page(RangePage(items: items, next: key)), index: state.index)
                    }
                    items.append(RangePage.Item(key: key, value: value))
                }
                return .answered(.page(RangePage(items: items, next: nil)), index: state.index)
            }
        }
    }

    func administer(_ request: AdminRequest, token: UInt64, replyTo sink: any ReplySink) {
        reply(token, sink) { state in
            state.wishes.append(request)
            state.index += 1
            return .administered(index: state.index)
        }
    }

    var counters: NodeCounters { NodeCounters() }
    /// What operators asked.
    var wishes: [AdminRequest] { state.withLock { $0.wishes } }

    private func reply(_ token: UInt64, _ sink: any ReplySink, _ work: (inout State) -> Reply.Outcome) {
        let now = state.withLock { state -> Reply? in
            let reply = Reply(token: token, outcome: state.dictated ?? work(&state))
            guard state.isHolding else { return reply }
            state.held.append((reply, sink))
            return nil
        }
        if let now { sink.deliver([now]) }
    }
}
