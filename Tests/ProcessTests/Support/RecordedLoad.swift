import Glibc
import Synchronization
import VikTestSupport

/// Clients that read and write a cluster through its HTTP API, each on a thread, and record what they did and saw.
///
/// Each write has a value of its own, so that the checker knows which write a read saw. Any thread.
final class RecordedLoad: Sendable {
    struct Mix: Sendable {
        var clients = 4
        /// Keys that all clients share.
        var keys = 12
        var pauseMilliseconds: UInt32 = 2
        /// Every other client only reads and the rest only write, so that a slow read holds up no write.
        var separatesReads = false

        func isRead(_ client: Int, _ choice: UInt64) -> Bool {
            separatesReads ? client % 2 == 1 : choice > 5
        }
    }

    private let cluster: ClusterProcess
    private let mix: Mix
    /// The nodes that clients ask, by their places in the cluster, in order.
    private let known: Shared<[Int]>
    private let stop = StopFlag()
    private let records: Mutex<[HistoryOperation]> = Mutex([])
    private let workers: Mutex<Workers?> = Mutex(nil)

    init(_ cluster: ClusterProcess, _ mix: Mix = Mix()) {
        self.cluster = cluster
        self.mix = mix
        known = Shared(Array(cluster.nodes.indices))
    }

    /// Tells the clients which nodes there are; at first they ask all of them.
    func tell(_ nodes: [NodeProcess]) {
        known.change { $0 = cluster.nodes.indices.filter { place in nodes.contains { $0 === cluster.nodes[place] } } }
    }

    func start(seed: UInt64) {
        let workers = Workers(mix.clients) { [self] number in
            var client = RecordingClient(number: number, cluster: cluster, known: known)
            var random = SeededRandom(seed: seed &+ UInt64(number))
            while !stop.isSet {
                let key = "key\(Int(random.next() % UInt64(mix.keys)))"
                let choice = random.next() % 10
                if mix.isRead(number, choice) {
                    let nodes = known.value
                    client.get(key, at: nodes[Int(random.next() % UInt64(nodes.count))])
                } else {
                    switch choice % 6 {
                    // A key of the client's own, written once: nothing can excuse its absence later.
                    case 4: client.put("only-\(number)-\(client.operations.count)")
                    case 5: client.delete(key)
                    default: client.put(key)
                    }
                }
                usleep(mix.pauseMilliseconds * 1_000)
            }
            records.withLock { $0.append(contentsOf: client.operations) }
        }
        self.workers.withLock { $0 = workers }
    }

    /// Lets the clients end, also where a test ends early: they hold on to the cluster.
    func cancel() {
        stop.raise()
    }

    /// Stops the clients, then reads every key once more, at every node: what was acknowledged must still be there.
    ///
    /// - Parameter some: where to read instead of at every node.
    func finish(at some: [NodeProcess]? = nil) throws -> History {
        stop.raise()
        try workers.withLock { $0 }?.wait(within: 60)
        var all = records.withLock { $0 }
        var reader = RecordingClient(number: mix.clients, cluster: cluster, known: known)
        for key in Set(all.map(\.key)).sorted() {
            for node in cluster.nodes.indices where some?.contains(where: { $0 === cluster.nodes[node] }) ?? true {
                guard reader.get(key, at: node) == .ok else {
                    throw TimedOut(description: "\(key) could not be read from \(cluster.nodes[node].label) at the end")
                }
            }
        }
        all.append(contentsOf: reader.operations)
        return History(all)
    }
}

/// One client and its records; for one thread.
struct RecordingClient {
    private let number: Int
    private let cluster: ClusterProcess
    private let known: Shared<[Int]>
    private let clients: [HTTPClient]
    /// The node that took the last write.
    private var leader = 0
    private(set) var operations: [HistoryOperation] = []

    init(number: Int, cluster: ClusterProcess, known: Shared<[Int]>) {
        self.number = number
        self.cluster = cluster
        self.known = known
        clients = cluster.nodes.map { $0.client() }
    }

    mutating func put(_ key: String) {
        let value = "\(number).\(operations.count)"
        write(.put, key, value, "PUT", body: #"{"value":"\#(value.base64)"}"#)
    }

    mutating func delete(_ key: String) {
        write(.delete, key, nil, "DELETE", body: nil)
    }

    @discardableResult
    mutating func get(_ key: String, at node: Int) -> HistoryOperation.Outcome {
        let call = monotonicNanoseconds()
        var value: String?
        var outcome = HistoryOperation.Outcome.notApplied
        if let answer = try? clients[node].request("GET", "/kv/\(key.pathKey)"), let body = try? answer.json() {
            switch answer.status {
            case 200:
                value = body.value?.base64Decoded
                outcome = .ok
            case 404: outcome = .ok
            default: break
            }
        }
        record(.get, key, value, call: call, outcome, node)
        return outcome
    }

    private mutating func write(
        _ kind: HistoryOperation.Kind, _ key: String, _ value: String?, _ method: String, body: String?
    ) {
        let call = monotonicNanoseconds()
        var outcome = HistoryOperation.Outcome.notApplied
        let nodes = known.value
        if !nodes.contains(leader) { leader = nodes[0] }
        let first = leader
        for _ in 0...cluster.nodes.count {
            let node = leader
            do {
                let answer = try clients[node].request(method, "/kv/\(key.pathKey)", body: body)
                if answer.status == 307, let next = Self.redirected(answer, in: cluster) {
                    leader = next
                    continue
                }
                if answer.status == 200 {
                    outcome = .ok
                } else if try answer.json().outcome != "not_applied" {
                    outcome = .unknown
                }
            } catch HTTPClientError.notConnected {
                outcome = .notApplied
            } catch {
                outcome = .unknown
            }
            record(kind, key, value, call: call, outcome, node)
            // On from where this one began: nodes that send each other clients would else keep it.
            if outcome != .ok { leader = nodes.first { $0 > first } ?? nodes[0] }
            return
        }
        record(kind, key, value, call: call, outcome, leader)
        leader = nodes.first { $0 > first } ?? nodes[0]
    }

    private mutating func record(
        _ kind: HistoryOperation.Kind, _ key: String, _ value: String?, call: UInt64,
        _ outcome: HistoryOperation.Outcome, _ node: Int
    ) {
        operations.append(
            HistoryOperation(
                client: number, kind: kind, key: key, value: value, call: call,
                return: outcome == .unknown ? nil : monotonicNanoseconds(), outcome: outcome,
                node: cluster.nodes[node].label))
    }

    /// The node that a redirect names.
    static func redirected(_ answer: HTTPAnswer, in cluster: ClusterProcess) -> Int? {
        guard let location = answer.headers["location"] else { return nil }
        let authority = location.dropFirst("http://".count).prefix { $0 != "/" }
        return cluster.nodes.firstIndex { "\($0.host):\($0.apiPort)" == authority }
    }
}

/// SplitMix64: the same numbers for the same seed on every machine.
struct SeededRandom {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
