import Glibc
import Testing
import VikTestSupport

/// Every answer of the history must fit one order of all operations. One that does not is kept under /tmp.
func judge(_ history: History) throws {
    let ok = history.operations.count { $0.outcome == .ok }
    let unknown = history.operations.count { $0.outcome == .unknown }
    print("history: \(history.operations.count) operations, \(ok) ok, \(unknown) of unknown outcome")
    #expect(ok > 200, "a history of failures proves nothing")
    let verdict = LinearizabilityChecker.check(history)
    if verdict != .linearizable {
        let path = "/tmp/vikdb-history-\(getpid()).jsonl"
        TextFile.write(try history.jsonLines(), to: path)
        Issue.record("\(verdict); the history is in \(path)")
    }
}

extension History {
    private var writes: [HistoryOperation] { operations.filter { $0.kind != .get } }

    /// Seconds between two acknowledged writes that follow each other, at most; also between the last of them and the
    /// last one that was tried.
    var longestWriteGap: Double {
        let acknowledged = writes.filter { $0.outcome == .ok }.compactMap(\.return).sorted()
        guard let first = acknowledged.first else { return .infinity }
        var times = acknowledged
        if let lastTry = writes.map(\.call).max(), lastTry > times.last ?? first { times.append(lastTry) }
        return zip(times, times.dropFirst()).map { Double($1 - $0) / 1e9 }.max() ?? .infinity
    }

    /// What clients were not served with, in words.
    var failures: String {
        let refused = writes.count { $0.outcome == .notApplied }
        let unknown = writes.count { $0.outcome == .unknown }
        let reads = operations.count { $0.kind == .get && $0.outcome != .ok }
        return "\(refused) writes refused, \(unknown) of unknown outcome, \(reads) reads not answered"
    }

    /// Seconds that a read took that was answered, at most.
    var slowestRead: Double {
        let reads = operations.filter { $0.kind == .get && $0.outcome == .ok }
        return reads.compactMap { read in read.return.map { Double($0 - read.call) / 1e9 } }.max() ?? 0
    }

    /// Writes that were not acknowledged.
    var failedWrites: Int { writes.count { $0.outcome != .ok } }
}

/// Milliseconds, for a line of figures.
func milliseconds(_ seconds: Double) -> Int {
    Int((seconds * 1_000).rounded())
}
