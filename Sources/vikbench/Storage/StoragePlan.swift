import VikDB

/// A workload of db_bench, with its name and its meaning there.
enum StorageWorkload: String, CaseIterable, Sendable, Encodable {
    /// Puts, from an empty store on: in the order of keys, at random, at random and each one durable.
    case fillseq, fillrandom, fillsync
    /// Puts and deletes at random keys of what is there.
    case overwrite, deleterandom
    /// Gets of random keys; of keys that are not there; of random keys while one more thread overwrites.
    case readrandom, readmissing, readwhilewriting
    /// All keys in their order, and from the last to the first; from a random key on some keys in their order.
    case readseq, readreverse, seekrandom

    /// Starts from an empty store.
    var isFresh: Bool { self == .fillseq || self == .fillrandom || self == .fillsync }

    /// Its measured threads write.
    var isWrite: Bool { isFresh || self == .overwrite || self == .deleterandom }

    /// Its operations are to find a key, or not.
    var isSearch: Bool {
        switch self {
        case .readrandom, .readmissing, .readwhilewriting, .seekrandom: true
        case .fillseq, .fillrandom, .fillsync, .overwrite, .deleterandom, .readseq, .readreverse: false
        }
    }
}

/// What one benchmark of log and engine does. A plain value; the flags are checked before it is made.
struct StoragePlan: Sendable {
    static let maxKeys = 1_000_000_000
    static let maxThreads = 256
    /// The number of a key takes so much of it.
    static let minKeyBytes = 8
    /// fillsync has so many times fewer keys, as db_bench has it.
    private static let fillsyncShare = 1_000

    var workloads: [StorageWorkload]
    var keys: Int
    var keyBytes: Int
    var valueBytes: Int
    var threads: Int
    /// Operations of each thread.
    var reads: Int
    var writes: Int
    /// Keys that seekrandom goes on to after each search.
    var seekNexts: Int
    var engine: EngineOptions
    var hasLatencies: Bool
    var seed: UInt64

    /// Keys that the workload chooses from.
    func keys(of workload: StorageWorkload) -> Int {
        workload == .fillsync ? max(1, keys / Self.fillsyncShare) : keys
    }

    func operations(of workload: StorageWorkload) -> Int { workload.isWrite ? writes : reads }

    /// No key that was put is as long as those of readmissing.
    func keyBytes(of workload: StorageWorkload) -> Int { workload == .readmissing ? keyBytes + 1 : keyBytes }
}
