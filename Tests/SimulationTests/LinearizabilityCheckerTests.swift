import Testing
import VikDB
import VikTestSupport

/// The checker itself, on histories whose verdict is known.
@Suite struct LinearizabilityCheckerTests {
    private typealias Operation = HistoryOperation

    private func put(
        _ value: String, _ call: UInt64, _ end: UInt64?, _ outcome: Operation.Outcome = .ok, key: String = "k"
    ) -> Operation {
        Operation(client: 1, kind: .put, key: key, value: value, call: call, return: end, outcome: outcome)
    }

    private func delete(_ call: UInt64, _ end: UInt64?, _ outcome: Operation.Outcome = .ok) -> Operation {
        Operation(client: 2, kind: .delete, key: "k", call: call, return: end, outcome: outcome)
    }

    private func get(_ value: String?, _ call: UInt64, _ end: UInt64, key: String = "k") -> Operation {
        Operation(client: 3, kind: .get, key: key, value: value, call: call, return: end, outcome: .ok)
    }

    private func isLinearizable(_ operations: Operation...) -> Bool {
        LinearizabilityChecker.check(History(operations)) == .linearizable
    }

    @Test func sequentialHistoriesAreLinearizable() {
        #expect(isLinearizable())
        #expect(isLinearizable(get(nil, 1, 2)))
        #expect(isLinearizable(put("a", 1, 2), get("a", 3, 4), delete(5, 6), get(nil, 7, 8)))
        #expect(isLinearizable(delete(1, 2), put("a", 3, 4), put("b", 5, 6), get("b", 7, 8)))
    }

    @Test func aStaleReadIsFound() {
        #expect(!isLinearizable(put("a", 1, 2), get(nil, 3, 4)))
        #expect(!isLinearizable(put("a", 1, 2), put("b", 3, 4), get("a", 5, 6)))
        #expect(!isLinearizable(put("a", 1, 2), delete(3, 4), get("a", 5, 6)))
    }

    @Test func readsNeverGoBack() {
        // While the second put is in progress either value may be read, but not the old one after the new one.
        #expect(isLinearizable(put("a", 1, 2), put("b", 3, 10), get("a", 4, 5), get("b", 6, 7)))
        #expect(!isLinearizable(put("a", 1, 2), put("b", 3, 10), get("b", 4, 5), get("a", 6, 7)))
        #expect(isLinearizable(put("a", 1, 2), put("b", 3, 10), get("b", 4, 6), get("a", 5, 7)))
    }

    @Test func concurrentWritesHaveOneOrder() {
        #expect(isLinearizable(put("a", 1, 10), put("b", 2, 9), get("a", 11, 12), get("a", 13, 14)))
        #expect(!isLinearizable(put("a", 1, 10), put("b", 2, 9), get("a", 11, 12), get("b", 13, 14)))
    }

    @Test func anUnknownWriteMayHappenLaterOrNever() {
        #expect(isLinearizable(put("a", 1, 2), put("b", 3, nil, .unknown), get("a", 50, 51)))
        #expect(isLinearizable(put("a", 1, 2), put("b", 3, 4, .unknown), get("a", 50, 51), get("b", 60, 61)))
        #expect(isLinearizable(put("a", 1, 2), delete(3, nil, .unknown), get("a", 5, 6), get(nil, 7, 8)))
        #expect(!isLinearizable(put("b", 10, nil, .unknown), get("b", 3, 4)))
        #expect(
            !isLinearizable(put("a", 1, 2), put("b", 3, nil, .unknown), get("b", 5, 6), get("a", 7, 8), get("b", 9, 10))
        )
    }

    @Test func anUnknownDeleteExplainsOneAbsence() {
        let puts = [put("a", 1, 2), get(nil, 5, 6), put("b", 7, 8), get(nil, 9, 10)]
        #expect(LinearizabilityChecker.check(History(puts + [delete(3, nil, .unknown)])) != .linearizable)
        let both = puts + [delete(3, nil, .unknown), delete(4, nil, .unknown)]
        #expect(LinearizabilityChecker.check(History(both)) == .linearizable)
        let late = puts + [delete(3, nil, .unknown), delete(20, nil, .unknown)]
        #expect(LinearizabilityChecker.check(History(late)) != .linearizable)
    }

    @Test func aRefusedWriteIsNeverSeen() {
        #expect(isLinearizable(put("a", 1, 2, .notApplied), get(nil, 3, 4)))
        #expect(!isLinearizable(put("a", 1, 2, .notApplied), get("a", 3, 4)))
        #expect(!isLinearizable(get("never written", 3, 4)))
    }

    @Test func keysAreJudgedApart() {
        let history = History([
            put("a", 1, 2, key: "x"), put("b", 1, 2, key: "y"), get("a", 3, 4, key: "x"), get(nil, 3, 4, key: "y"),
        ])
        guard case .violation(let key, _) = LinearizabilityChecker.check(history) else {
            Issue.record("the stale read of y was not found")
            return
        }
        #expect(key == "y")
    }

    /// Histories of a register that is linearizable by construction, and the same with one read spoilt.
    @Test(arguments: 0..<50) func randomHistories(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var operations: [Operation] = []
        var written: [String?] = [nil]
        var certain: [String] = []
        for step in 1...200 {
            // The operation takes effect at 10 * step and overlaps its neighbours.
            let instant = UInt64(10 * step + 100)
            let call = instant - .random(in: 0...40, using: &random)
            let end = instant + .random(in: 0...40, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<3:
                written.append("v\(step)")
                let isUnknown = Int.random(in: 0..<4, using: &random) == 0
                operations.append(put("v\(step)", call, isUnknown ? nil : end, isUnknown ? .unknown : .ok))
                if !isUnknown { certain.append("v\(step)") }
            case 3:
                written.append(nil)
                operations.append(delete(call, end))
            case 4: operations.append(put("never\(step)", call, nil, .unknown))
            default: operations.append(get(written.last!, call, end))
            }
        }
        #expect(LinearizabilityChecker.check(History(operations)) == .linearizable, "seed \(seed)")
        operations.append(get(written.last!, 10_000, 10_001))
        operations.append(get("v-none", 10_002, 10_003))
        #expect(LinearizabilityChecker.check(History(operations)) != .linearizable, "seed \(seed)")
        // A write that ended before another began is not read after that one.
        operations[operations.count - 1] = put("last", 10_002, 10_003)
        operations.append(get(certain[certain.count / 2], 10_004, 10_005))
        #expect(LinearizabilityChecker.check(History(operations)) != .linearizable, "seed \(seed)")
    }

    @Test func aHistorySurvivesItsFile() throws {
        let history = History([
            put("a", 1, 2), delete(3, nil, .unknown), get(nil, 5, 6),
            Operation(
                client: 7, kind: .put, key: "k\"/ü", value: "", call: 8, return: 9, outcome: .notApplied,
                node: "node1", group: 3),
        ])
        #expect(try History(jsonLines: try history.jsonLines()) == history)
        let line = try History([put("a", 1, 2)]).jsonLines()
        #expect(
            line == #"{"call":1,"client":1,"key":"k","node":"","op":"put","outcome":"ok","return":2,"value":"a"}"#
                + "\n")
    }
}
