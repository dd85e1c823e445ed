import Glibc
import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }
}

/// The seeds to run: `VIK_SEED` alone, if it is set.
func seeds(_ count: Int) -> [UInt64] {
    if let text = getenv("VIK_SEED"), let seed = UInt64(String(cString: text)) { return [seed] }
    return (1...UInt64(count)).map { $0 }
}

/// What an engine should hold: a plain dictionary with versions.
struct Model: Equatable {
    var values: [[UInt8]: StoredValue] = [:]
    var configuration: StoredValue?

    mutating func apply(_ entry: Entry) throws {
        switch entry.kind {
        case .noOp: break
        case .configuration:
            configuration = StoredValue(bytes: Array(entry.payload.readableBytesView), version: entry.index)
        case .command:
            try Command.forEachOperation(in: entry.payload) { _, key, value in
                values[Array(key)] = value.map { StoredValue(bytes: Array($0), version: entry.index) }
            }
        }
    }

    func items(from start: [UInt8], to end: [UInt8]) -> [RangePage.Item] {
        values.filter { !$0.key.lexicographicallyPrecedes(start) }
            .filter { end.isEmpty || $0.key.lexicographicallyPrecedes(end) }
            .map { RangePage.Item(key: $0.key, value: $0.value.bytes) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }
}

/// A log of entries, as a node would have it: it outlives the engine that they are applied to.
struct TestLog {
    private(set) var entries: [Entry] = []
    private(set) var model = Model()

    mutating func append(_ payload: ByteBuffer, kind: EntryKind = .command) throws {
        let index = LogIndex(entries.count + 1)
        let entry = Entry(index: index, term: 1 + index / 10, kind: kind, payload: payload)
        entries.append(entry)
        try model.apply(entry)
    }

    mutating func put(_ key: String, _ value: String) throws {
        try append(Command.put(key: Array(key.utf8), value: Array(value.utf8)))
    }

    mutating func delete(_ key: String) throws {
        try append(Command.delete(key: Array(key.utf8)))
    }

    /// Deletes every key, in batches.
    mutating func deleteEverything() throws {
        let keys = model.values.keys.sorted { $0.lexicographicallyPrecedes($1) }
        for start in stride(from: 0, to: keys.count, by: 100) {
            let batch = keys[start..<min(start + 100, keys.count)]
            var command = ByteBuffer()
            Command.writeHeader(operationCount: batch.count, into: &command)
            for key in batch { Command.writeDelete(key: key, into: &command) }
            try append(command)
        }
    }

    /// Applies what `engine` does not have yet.
    func bringUp(_ engine: Engine) throws {
        _ = try engine.apply(Array(entries[Int(engine.appliedIndex)...]))
    }
}

extension Engine {
    /// Runs background jobs until there is none.
    func runJobs() throws {
        while let job = takeBackgroundJob() { try job.run() }
    }

    func flush() throws {
        requestFlush()
        try runJobs()
    }

    func get(_ key: String) throws -> String? {
        guard case .value(let value) = try view().execute(.get(key: Array(key.utf8))) else { return nil }
        return value.map { String(decoding: $0.bytes, as: UTF8.self) }
    }
}

extension EngineView {
    /// All pages of a range, put together.
    func items(
        from start: [UInt8] = [], to end: [UInt8] = [], limit: Int = 1_000, maxBytes: Int = 1 << 20
    ) throws -> [RangePage.Item] {
        var items: [RangePage.Item] = []
        var next = start
        while true {
            guard
                case .page(let page) = try execute(
                    .range(start: next, end: end, limit: limit, maxBytes: maxBytes))
            else { preconditionFailure("a range is answered by a page") }
            items += page.items
            #expect(page.items.count <= max(1, limit))
            guard let following = page.next else { return items }
            #expect(!following.lexicographicallyPrecedes(next))
            next = following
        }
    }
    /// The same from the last key to the first.
    func reversedItems(
        from start: [UInt8] = [], to end: [UInt8] = [], limit: Int = 1_000, maxBytes: Int = 1 << 20
    ) throws -> [RangePage.Item] {
        var items: [RangePage.Item] = []
        var next = end
        while true {
            let page = try reverseRange(from: start, to: next, limit: limit, maxBytes: maxBytes)
            items += page.items
            #expect(page.items.count <= max(1, limit))
            guard let following = page.next else { return items }
            // What is left is less, or a page would never end.
            try #require(next.isEmpty || following.lexicographicallyPrecedes(next))
            next = following
        }
    }
}

/// Fails unless `engine` holds exactly what `model` says.
func expectEqual(_ engine: Engine, _ model: Model, _ comment: Comment? = nil) throws {
    let view = engine.view()
    let items = try view.items()
    try #require(items == model.items(from: [], to: []), comment)
    let reversed = try view.reversedItems()
    try #require(reversed == items.reversed(), comment)
    for (key, value) in model.values {
        let result = try view.execute(.get(key: key))
        try #require(result == .value(value), comment)
    }
    let configuration = try engine.storedConfiguration()
    try #require(configuration == model.configuration, comment)
}
