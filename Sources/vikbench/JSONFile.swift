import FoundationEssentials
import Glibc
import VikWire

/// The file that `--json` names. Opened before the benchmark begins, so that a wrong name costs no run.
struct JSONFile {
    private let path: String

    init(path: String) throws {
        self.path = path
        guard let file = fopen(path, "a") else {
            throw BenchmarkError("cannot write --json \(path): \(String(cString: strerror(errno)))")
        }
        fclose(file)
    }

    func write(_ report: Report) throws {
        try write(Document(report))
    }

    func write(_ document: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        var text = try encoder.encode(document)
        text.append(UInt8(ascii: "\n"))
        do {
            try text.write(to: URL(filePath: path))
        } catch {
            throw BenchmarkError("cannot write --json \(path): \(error)")
        }
    }
}

/// The medians, then every run. A figure that does not apply is left out.
private struct Document: Encodable {
    let figures: RunFigures
    let fdatasync: Double?
    let verified: Bool
    let verifiedKeys: Int
    let runs: [RunFigures]
    let settings: Settings

    struct Settings: Encodable {
        let mode: String
        let nodes: Int
        let targets: [String]?
        let ops: Int
        let warmup: Int
        let runs: Int
        let clients: Int
        let rate: Int?
        let keys: Int
        let valueSize: Int
        let seed: UInt64

        enum CodingKeys: String, CodingKey {
            case mode, nodes, targets, ops, warmup, runs, clients, rate, keys, seed
            case valueSize = "value_size"
        }
    }

    enum CodingKeys: String, CodingKey {
        case verified, runs, settings
        case fdatasync = "fdatasync_us_p50"
        case verifiedKeys = "verified_keys"
    }

    init(_ report: Report) {
        let plan = report.plan
        figures = RunFigures(mediansOf: report.runs)
        fdatasync = report.fdatasyncMicroseconds.map(rounded)
        verified = report.isVerified
        verifiedKeys = report.readBacks.first?.keys ?? 0
        runs = report.runs
        let targets: [String]? =
            if case .targets(let addresses) = plan.subject { addresses.map(\.description) } else { nil }
        settings = Settings(
            mode: plan.mode, nodes: report.readBacks.count, targets: targets, ops: plan.operations,
            warmup: plan.warmup, runs: plan.runs, clients: plan.clients, rate: plan.rate, keys: plan.keys,
            valueSize: plan.valueSize, seed: plan.seed)
    }

    func encode(to encoder: any Encoder) throws {
        // The medians stand beside the rest, so both are written into one object.
        try figures.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encodeIfPresent(fdatasync, forKey: .fdatasync)
        try container.encode(verified, forKey: .verified)
        try container.encode(verifiedKeys, forKey: .verifiedKeys)
        try container.encode(runs, forKey: .runs)
        try container.encode(settings, forKey: .settings)
    }
}
