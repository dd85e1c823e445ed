/// Judges whether a history is linearizable, key by key: linearizability is local, so a history is linearizable if what
/// each key's clients saw is (Herlihy and Wing 1990, theorem 1).
package struct LinearizabilityChecker {
    package enum Verdict: Equatable, Sendable {
        case linearizable
        /// No order of the key's operations explains what its clients saw; the sentence names where it breaks.
        case violation(key: String, String)
        /// The search for this key grew past its limit.
        case undecided(key: String)
    }

    /// - Parameter maxStates: the most states that the search of one key may visit.
    package static func check(_ history: History, maxStates: Int = 2_000_000) -> Verdict {
        var operationsOfKey: [String: [HistoryOperation]] = [:]
        for operation in history.operations { operationsOfKey[operation.key, default: []].append(operation) }
        for (key, operations) in operationsOfKey.sorted(by: { $0.key < $1.key }) {
            var search = RegisterSearch(operations)
            switch search.run(maxStates: maxStates) {
            case .found: continue
            case .none(let reason): return .violation(key: key, reason)
            case .limit: return .undecided(key: key)
            }
        }
        return .linearizable
    }
}
