/// The puts of one run: each client goes around its own keys. Bound to the clients' loop.
final class Puts: OperationSource {
    let total: Int
    private let ledger: Ledger
    private let sequence: WriteSequence
    private var issued = 0
    private(set) var acknowledged = 0
    private(set) var notApplied = 0
    private(set) var unknown = 0
    /// The first failure's reason, for people.
    private(set) var firstFailure: String?

    init(total: Int, ledger: Ledger, sequence: WriteSequence) {
        self.total = total
        self.ledger = ledger
        self.sequence = sequence
    }

    func next(client: Int) -> Operation? {
        guard issued < total else { return nil }
        issued += 1
        return .put(sequence.next(client: client))
    }

    func completed(_ operation: Operation, _ outcome: Outcome) -> Bool {
        guard case .put(let write) = operation else { preconditionFailure("a run has puts alone") }
        switch outcome {
        case .acknowledged:
            acknowledged += 1
            ledger.acknowledge(write)
            return true
        case .refused(let reason):
            notApplied += 1
            firstFailure = firstFailure ?? reason
        case .unknown(let reason):
            unknown += 1
            ledger.doubt(write)
            firstFailure = firstFailure ?? reason
        case .value: preconditionFailure("a put is not answered with a value")
        }
        return false
    }
}

/// Which write a client sends next, over all runs. Bound to the clients' loop.
///
/// Client c of n owns the keys c, c + n, c + 2n and so on.
final class WriteSequence {
    private let keys: Int
    private let clients: Int
    /// By client: the key of its next write.
    private var nextKeys: [Int]
    private var lastNumber: UInt64 = 0

    init(keys: Int, clients: Int) {
        self.keys = keys
        self.clients = clients
        nextKeys = Array(0..<clients)
    }

    func next(client: Int) -> Write {
        let key = nextKeys[client]
        nextKeys[client] = key + clients < keys ? key + clients : client
        lastNumber += 1
        return Write(key: key, number: lastNumber)
    }
}
