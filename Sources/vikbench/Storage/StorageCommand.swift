import ArgumentParser
import Glibc
import VikDB
import VikWire

/// `vikbench storage`: reads its flags, runs the workloads and prints their figures.
struct StorageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vikbench storage",
        abstract: "Measures log and engine alone, with the workloads of RocksDB's db_bench.",
        discussion: """
            Workloads: \(StorageWorkload.allCases.map(\.rawValue).joined(separator: ", ")). They run one after \
            another on one store; those that fill begin with an empty one. Each is reported in one line as db_bench \
            prints it, and more below it. docs/benchmarking.md defines every figure.
            """)

    @Argument(help: ArgumentHelp("What to run, in this order.", valueName: "workload,…"))
    var workloads: String
    @Option(help: ArgumentHelp("Keys, and operations of each thread.", valueName: "count"))
    var num = 1_000_000
    @Option(help: ArgumentHelp("Reads of each thread (default: --num).", valueName: "count"))
    var reads: Int?
    @Option(help: ArgumentHelp("Writes of each thread (default: --num).", valueName: "count"))
    var writes: Int?
    @Option(help: ArgumentHelp("Bytes of each key.", valueName: "bytes"))
    var keySize = 16
    @Option(help: ArgumentHelp("Bytes of each value.", valueName: "bytes"))
    var valueSize = 256
    @Option(help: ArgumentHelp("Threads that do the same.", valueName: "count"))
    var threads = 1
    @Option(help: ArgumentHelp("Keys that seekrandom steps over after each search.", valueName: "count"))
    var seekNexts = 100
    @Option(help: ArgumentHelp("Size of the block cache.", valueName: "bytes"))
    var cacheSize = EngineOptions().blockCacheBytes
    @Option(help: ArgumentHelp("Size of a memtable.", valueName: "bytes"))
    var memtableSize = EngineOptions().memtableMaxBytes
    @Option(help: ArgumentHelp("How tables are stored.", valueName: "none|zlib"))
    var compression = "\(EngineOptions().compression)"
    @Flag(
        inversion: .prefixedNo,
        help: "Measure each operation's latency, at the cost of reading the clock after each.")
    var histogram = true
    @Option(help: ArgumentHelp("Seed of keys and values (default: random, printed).", valueName: "number"))
    var seed: UInt64?
    @Option(help: ArgumentHelp("Where the temporary store goes (default: $TMPDIR or /tmp).", valueName: "dir"))
    var dir: String?
    @Option(help: ArgumentHelp("Keep the store here, and go on with one that is there.", valueName: "dir"))
    var db: String?
    @Option(help: ArgumentHelp("Also write the figures to this file.", valueName: "file"))
    var json: String?

    func run() throws {
        let plan = try plan()
        let output = try json.map { path in try JSONFile(path: path) }
        print(setting(plan))
        let figures = try measure(plan)
        let memory = PeakMemory.bytes
        print("memory of the process, at most: \(grouped(memory >> 20)) MiB")
        try output?.write(
            Document(settings: Document.Settings(plan), workloads: figures, peakMemoryBytes: memory))
    }

    private func measure(_ plan: StoragePlan) throws -> [StorageFigures] {
        defer { Progress.clear() }
        let scratch = db == nil ? try ScratchDirectory(parent: dir) : nil
        defer { scratch?.remove() }
        var all: [StorageFigures] = []
        var benchmark = try StorageBenchmark(plan, in: db ?? scratch!.path)
        try benchmark.run { figures in
            print(figures.text, terminator: "")
            // Whoever reads through a pipe waits for each line.
            fflush(nil)
            all.append(figures)
        }
        return all
    }

    private func setting(_ plan: StoragePlan) -> String {
        let threads = plan.threads == 1 ? "1 thread" : "\(plan.threads) threads"
        return "log and engine: \(grouped(plan.keys)) keys of \(plan.keyBytes) B, values of \(plan.valueBytes) B, "
            + "\(threads), cache of \(grouped(plan.engine.blockCacheBytes)) B, "
            + "memtables of \(grouped(plan.engine.memtableMaxBytes)) B, compression \(plan.engine.compression), "
            + "seed \(plan.seed)"
    }

    private func plan() throws -> StoragePlan {
        try check("--num", num, 1...StoragePlan.maxKeys)
        try check("--reads", reads ?? num, 1...StoragePlan.maxKeys)
        try check("--writes", writes ?? num, 1...StoragePlan.maxKeys)
        // readmissing has keys of one byte more.
        try check("--key-size", keySize, StoragePlan.minKeyBytes...WireLimits.maxKeyBytes - 1)
        try check("--value-size", valueSize, 0...WireLimits.maxValueBytes)
        try check("--threads", threads, 1...StoragePlan.maxThreads)
        try check("--seek-nexts", seekNexts, 0...StoragePlan.maxKeys)
        try check("--cache-size", cacheSize, 0...Int.max)
        try check("--memtable-size", memtableSize, EngineOptions.minMemtableBytes...Memtable.maxCapacity)
        if db != nil, dir != nil { throw ValidationError("--dir is for a temporary store, it has no use with --db") }
        var engine = EngineOptions()
        engine.blockCacheBytes = cacheSize
        engine.memtableMaxBytes = memtableSize
        engine.compression = try blockCompression()
        return StoragePlan(
            workloads: try workloads.split(separator: ",", omittingEmptySubsequences: false).map(workload),
            keys: num, keyBytes: keySize, valueBytes: valueSize, threads: threads, reads: reads ?? num,
            writes: writes ?? num, seekNexts: seekNexts, engine: engine, hasLatencies: histogram,
            seed: seed ?? UInt64(UInt32.random(in: 1 ... .max)))
    }

    private func blockCompression() throws -> BlockCompression {
        if let found = BlockCompression.allCases.first(where: { "\($0)" == compression }) { return found }
        let known = BlockCompression.allCases.map { "\($0)" }.joined(separator: " or ")
        throw ValidationError("--compression must be \(known), not \"\(compression)\"")
    }

    private func workload(_ name: Substring) throws -> StorageWorkload {
        if let workload = StorageWorkload(rawValue: String(name)) { return workload }
        let known = StorageWorkload.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("there is no workload \"\(name)\", expected of \(known)")
    }
}

/// The file of `--json`.
private struct Document: Encodable {
    struct Settings: Encodable {
        var num: Int
        var reads: Int
        var writes: Int
        var keySize: Int
        var valueSize: Int
        var threads: Int
        var seekNexts: Int
        var cacheSize: Int
        var memtableSize: Int
        var compression: String
        var seed: UInt64

        enum CodingKeys: String, CodingKey {
            case num, reads, writes, threads, compression, seed
            case keySize = "key_size"
            case valueSize = "value_size"
            case seekNexts = "seek_nexts"
            case cacheSize = "cache_size"
            case memtableSize = "memtable_size"
        }

        init(_ plan: StoragePlan) {
            num = plan.keys
            reads = plan.reads
            writes = plan.writes
            keySize = plan.keyBytes
            valueSize = plan.valueBytes
            threads = plan.threads
            seekNexts = plan.seekNexts
            cacheSize = plan.engine.blockCacheBytes
            memtableSize = plan.engine.memtableMaxBytes
            compression = "\(plan.engine.compression)"
            seed = plan.seed
        }
    }

    enum CodingKeys: String, CodingKey {
        case settings, workloads
        case peakMemoryBytes = "peak_memory_bytes"
    }

    let settings: Settings
    let workloads: [StorageFigures]
    let peakMemoryBytes: Int
}
