import VikWire

/// What a benchmark found, for people. A plain value; ``JSONFile`` writes it for programs.
struct Report: Sendable {
    let plan: Plan
    let runs: [RunFigures]
    let readBacks: [ReadBackFigures]
    /// Of this machine's disk; nil where the nodes are elsewhere.
    var fdatasyncMicroseconds: Double?

    /// No disk is so fast; a file system in memory is.
    private static let implausibleSyncMicroseconds = 5.0

    var isVerified: Bool { readBacks.allSatisfy(\.isRight) }

    var text: String {
        (setting + table + ending).map { $0 + "\n" }.joined()
    }

    private var setting: [String] {
        let subject =
            switch plan.subject {
            case .nodes(let count): "\(count) \(count == 1 ? "node" : "nodes") \(plan.mode)"
            case .targets(let addresses): "\(addresses.map(\.description).joined(separator: ", ")): \(plan.mode)"
            }
        let runs = plan.runs == 1 ? "1 run" : "\(plan.runs) runs: median, lowest, highest"
        return [
            subject,
            "\(loop) of \(grouped(plan.clients)) \(plan.clients == 1 ? "client" : "clients"), "
                + "\(grouped(plan.operations)) puts a run, values of \(grouped(plan.valueSize)) B, "
                + "\(grouped(plan.keys)) keys of \(Workload.keyBytes) B, seed \(plan.seed)",
            "warm-up of \(grouped(plan.warmup)) puts discarded; \(runs)",
            "",
        ]
    }

    private var loop: String {
        plan.rate.map { "open loop of \(grouped($0)) puts/s" } ?? "closed loop"
    }

    private var table: [String] {
        let rows: [(name: String, decimals: Int, figure: (RunFigures) -> Double?)] = [
            ("commits/s", 0, { $0.commitsPerSecond }),
            ("latency p50, us", 0, { $0.latency.p50 }),
            ("latency p90, us", 0, { $0.latency.p90 }),
            ("latency p99, us", 0, { $0.latency.p99 }),
            ("latency p99.9, us", 0, { $0.latency.p999 }),
            ("latency max, us", 0, { $0.latency.max }),
            ("entries per fdatasync at the leader", 1, { $0.entriesPerFdatasync }),
            ("bytes on the wire per commit, all nodes", 0, { $0.wireBytesPerCommit }),
            ("CPU us per commit, whole process", 1, { $0.cpuPerCommit }),
            ("CPU us per commit, client thread alone", 1, { $0.clientCPUPerCommit }),
        ]
        return rows.compactMap { row in
            let values = runs.compactMap(row.figure)
            guard let lowest = values.min(), let highest = values.max() else { return nil }
            let columns = runs.count == 1 ? [lowest] : [median(values), lowest, highest]
            let name = row.name + String(repeating: " ", count: max(0, 40 - row.name.count))
            return name + columns.map { padded(decimal($0, row.decimals), 12) }.joined()
        }
    }

    private var ending: [String] {
        var lines: [String] = []
        if let fdatasyncMicroseconds {
            lines.append(
                "fdatasync of 4 KiB on this disk, p50, us" + padded(decimal(fdatasyncMicroseconds, 0), 12))
        }
        lines.append("")
        if let fdatasyncMicroseconds, fdatasyncMicroseconds < Self.implausibleSyncMicroseconds {
            lines.append("fdatasync costs nothing here, so the files reach no disk: choose another place with --dir")
        }
        let notApplied = runs.reduce(0) { $0 + $1.notApplied }
        let unknown = runs.reduce(0) { $0 + $1.unknown }
        if notApplied + unknown > 0 {
            let reason = runs.compactMap(\.firstFailure).first.map { " (first: \($0))" } ?? ""
            lines.append("failed puts: \(grouped(notApplied)) not applied, \(grouped(unknown)) unknown\(reason)")
        }
        for (node, readBack) in readBacks.enumerated() where !readBack.isRight {
            lines.append(
                "WRONG at node \(node + 1): of \(grouped(readBack.keys)) acknowledged keys \(grouped(readBack.wrong)) "
                    + "are wrong, \(grouped(readBack.unanswered)) unanswered (first: \(readBack.firstFailure ?? ""))")
        }
        if isVerified, let keys = readBacks.first?.keys {
            let nodes = readBacks.count == 1 ? "the node" : "each of \(readBacks.count) nodes"
            lines.append("verified: all \(grouped(keys)) acknowledged keys read back right from \(nodes)")
        }
        return lines
    }
}

/// With commas between thousands.
func grouped(_ number: Int) -> String {
    let digits = String(number)
    var text = ""
    for (place, digit) in digits.enumerated() {
        if place > 0, (digits.count - place) % 3 == 0 { text += "," }
        text.append(digit)
    }
    return text
}

private func decimal(_ value: Double, _ decimals: Int) -> String {
    guard decimals > 0 else { return grouped(Int(value.rounded())) }
    let tenths = Int((value * 10).rounded())
    return "\(grouped(tenths / 10)).\(tenths % 10)"
}

private func padded(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
}
