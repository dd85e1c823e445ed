import VikDB
import VikWire

/// A cluster of real node shells, logs and engines in a world made of a seed: time, network, disks, threads and clients
/// are simulated, and every step is held against what Raft and the API promise.
///
/// Owns all of it; one thread. One seed is one run: nothing here depends on anything else.
package final class Simulation {
    package let profile: SimulationProfile
    package internal(set) var coverage = Coverage()
    /// The first promise that was broken; nothing happens after it.
    package internal(set) var violation: String?
    package internal(set) var history = History()

    var random: SplitMix64
    var trace: Trace
    var queue = EventQueue()
    /// Microseconds.
    package internal(set) var now: UInt64 = 0
    package let nodes: [SimulatedNode]
    var network: SimulatedNetwork
    var oracle = SafetyOracle()
    /// Where answers to operators go.
    let operatorSink = SimulatedSink()
    /// The configuration whose consequences were drawn for machines: those added start, those removed are taken away.
    var staffedIndex: LogIndex = 0
    /// As last seen of each member; and who was removed.
    var roles: [MemberID: MemberRole] = [:]
    var removed: Set<MemberID> = []
    /// The highest index that a store, lost or not, acknowledged to the leader of a term.
    var acknowledged: [StoreID: [Term: LogIndex]] = [:]
    var clients: ClientState
    /// The network's and the disks' hostility at present: the profile's, or none.
    var hostility: SimulationProfile
    var isFaulty = false
    private var nextProcessNumber = 1
    var nextLinkNumber = 0
    /// The chunks of snapshots that were ever sent, to notice what is sent again.
    var chunksSent: Set<ChunkKey> = []

    struct ChunkKey: Hashable {
        let transfer: UInt64
        let sequence: UInt64
    }

    package init(_ profile: SimulationProfile, isPrinted: Bool = false) {
        self.profile = profile
        hostility = profile
        random = SplitMix64(seed: profile.seed)
        trace = Trace(isPrinted: isPrinted)
        nodes = (0..<profile.nodeCount + profile.spareCount).map {
            SimulatedNode(position: $0, isFounder: $0 < profile.nodeCount)
        }
        network = SimulatedNetwork(nodeCount: nodes.count)
        clients = ClientState(profile)
        if profile.nodeCount == 1 { coverage[.quorumOfOne] += 1 }
    }

    package var traceHash: UInt64 { trace.hash }
    var cluster: [String] { nodes.prefix(profile.nodeCount).map(\.address) }

    /// The nodes that vote in a configuration, and how many of them it takes.
    func voters(of configuration: Configuration?) -> (nodes: [SimulatedNode], quorum: Int) {
        guard let voters = configuration?.voters else {
            let founders = nodes.filter(\.isFounder)
            return (founders, founders.count / 2 + 1)
        }
        return (nodes.filter { node in voters.contains { $0.id == node.member } }, voters.count / 2 + 1)
    }

    /// The nodes that belong to the cluster at present.
    var members: [SimulatedNode] {
        guard let configuration = oracle.configuration else { return nodes.filter(\.isFounder) }
        return nodes.filter { configuration.member($0.member) != nil }
    }

    func makeProcessNumber() -> Int {
        defer { nextProcessNumber += 1 }
        return nextProcessNumber
    }

    // MARK: Time

    func schedule(after delay: UInt64, _ action: @escaping () -> Void) {
        queue.push(at: now + delay, action)
    }

    /// Runs until `time` has passed, or a promise is broken.
    package func run(for time: UInt64) {
        run(until: now + time) { false }
    }

    /// - Returns: whether `condition` became true within `time`.
    @discardableResult
    package func run(within time: UInt64, until condition: () -> Bool) -> Bool {
        run(until: now + time, condition)
        return violation == nil && condition()
    }

    private func run(until end: UInt64, _ condition: () -> Bool) {
        while violation == nil, !condition(), let next = queue.nextTime, next <= end {
            let (time, action) = queue.pop()!
            now = time
            trace.now = time
            action()
        }
        now = max(now, violation == nil && !condition() ? end : now)
    }

    // MARK: Judging

    func fail(_ text: String) {
        guard violation == nil else { return }
        violation = "at \(now) us: \(text)"
        trace.note(1, text: "VIOLATION \(text)")
    }

    /// Runs a check; what it throws ends the run.
    func check(_ body: () throws(Violation) -> Void) {
        do throws(Violation) { try body() } catch { fail(error.description) }
    }

    func chance(_ percent: Int) -> Bool {
        Int.random(in: 0..<100, using: &random) < percent
    }

    func draw(_ range: ClosedRange<UInt64>) -> UInt64 {
        UInt64.random(in: range, using: &random)
    }
}
