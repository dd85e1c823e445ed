import NIOCore

/// Reads every acknowledged key at one node and compares. Bound to the clients' loop.
final class ReadBack: OperationSource {
    /// Reads under way at a time, however many clients the runs have.
    static let clients = 64
    /// A node that answers no read for so long has not passed.
    private static let patience = TimeAmount.seconds(30)

    let total: Int
    private let node: Int
    private let ledger: Ledger
    private let workload: Workload
    private var remaining: Range<Int>
    private var refused: [Int] = []
    private var lastAnswer = NIODeadline.now()
    /// Keys with another value than the one acknowledged, or none.
    private(set) var wrong = 0
    /// Keys that the node gave no answer for.
    private(set) var unanswered = 0
    private(set) var firstFailure: String?

    init(node: Int, ledger: Ledger, workload: Workload) {
        self.node = node
        self.ledger = ledger
        self.workload = workload
        total = ledger.acknowledgedKeys
        remaining = ledger.keys
    }

    func next(client: Int) -> Operation? {
        if let key = refused.popLast() { return .get(key: key, node: node) }
        while let key = remaining.popFirst() {
            if ledger.isAcknowledged(key) { return .get(key: key, node: node) }
        }
        return nil
    }

    func completed(_ operation: Operation, _ outcome: Outcome) -> Bool {
        guard case .get(let key, _) = operation else { preconditionFailure("reading back has gets alone") }
        switch outcome {
        case .value(let value):
            lastAnswer = .now()
            let number = value.flatMap(workload.number(of:))
            if number.map({ ledger.allows($0, for: key) }) != true {
                wrong += 1
                firstFailure = firstFailure ?? "key \(key) \(value == nil ? "is missing" : "has another value")"
            }
            return true
        case .refused(let reason), .unknown(let reason):
            if NIODeadline.now() - lastAnswer < Self.patience {
                refused.append(key)
            } else {
                unanswered += 1
                firstFailure = firstFailure ?? reason
            }
            return false
        case .acknowledged: preconditionFailure("a get is answered with a value")
        }
    }
}
