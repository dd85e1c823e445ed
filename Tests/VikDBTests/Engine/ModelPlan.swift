import NIOCore
import VikDB
import VikTestSupport
import VikWire

/// One step of a ``ModelPlan``. A plain value that knows nothing of the options it will run under.
enum ModelOperation: CustomStringConvertible {
    /// Applies the log up to this index.
    case write(upTo: LogIndex)
    case get([UInt8])
    case range(start: [UInt8], end: [UInt8], limit: Int, maxBytes: Int, isReversed: Bool)
    /// From the first key that is not before `start`: true is a step back, false one forth.
    case walk(start: [UInt8], steps: [Bool])
    case stateHash
    case openView(slot: Int)
    case readView(slot: Int, key: [UInt8], isReversed: Bool)
    case releaseView(slot: Int)
    case flush
    case work(jobs: Int)
    /// A flush, and all the merges that are due.
    case compact
    /// Some of the jobs of a sweep through all levels.
    case sweep(isAskedFor: Bool, jobs: Int)
    /// Flush and merges with room for so many bytes more, then with plenty.
    case fullDisk(room: Int)
    /// Into a new engine, which takes the place of the old one. The disk of the new one crashes after so many calls.
    case snapshot(chunkBytes: Int, crashAfter: Int?, keep: MemoryFileSystem.Keep)
    case reopen
    /// The disk crashes after so many calls: in the flush and the merges that begin at once, or in a later operation.
    case crash(after: Int, keep: MemoryFileSystem.Keep)

    var description: String {
        switch self {
        case .get(let key): "get \(brief(key))"
        case .range(let start, let end, let limit, let maxBytes, let isReversed):
            "range\(isReversed ? " from its end" : "") \(brief(start)) to \(brief(end)), \(limit), \(maxBytes)"
        case .walk(let start, let steps): "walk from \(brief(start))" + steps.map { $0 ? " back" : " on" }.joined()
        case .readView(let slot, let key, let isReversed):
            "read view \(slot)\(isReversed ? " from its end" : ""), get \(brief(key))"
        case .write(let index): "write up to \(index)"
        case .openView(let slot): "open view \(slot)"
        case .releaseView(let slot): "release view \(slot)"
        case .stateHash: "hash"
        case .flush: "flush"
        case .work(let jobs): "\(jobs) jobs"
        case .compact: "compact"
        case .sweep(let isAskedFor, let jobs): "\(jobs) jobs of a sweep\(isAskedFor ? " that is asked for" : "")"
        case .fullDisk(let room): "room for \(room) bytes"
        case .snapshot(let chunkBytes, let crashAfter, let keep):
            "snapshot in chunks of \(chunkBytes)" + (crashAfter.map { ", crash after \($0), keep \(keep)" } ?? "")
        case .reopen: "reopen"
        case .crash(let calls, let keep): "crash after \(calls), keep \(keep)"
        }
    }
}

/// A key or a value in a few letters: both may be long, and all of a value is one byte again and again.
private func brief(_ bytes: [UInt8]) -> String {
    bytes.count <= 6 ? "\(bytes)" : "\(bytes.prefix(6))...(\(bytes.count))"
}

/// What an operation that reads has to say.
enum ModelAnswer: Equatable, CustomStringConvertible {
    case value(StoredValue?)
    case page(RangePage)
    /// The entry at each position; nil: past one of the ends.
    case walk([RangePage.Item?])
    case view(items: [RangePage.Item], value: StoredValue?)
    case hash(UInt64)

    var description: String {
        switch self {
        case .value(let value): Self.text(value)
        case .page(let page): "\(page.items.map(Self.text)) next \(page.next.map(brief) ?? "none")"
        case .walk(let items): "\(items.map { $0.map(Self.text) ?? "none" })"
        case .view(let items, let value): "\(items.map(Self.text)) and \(Self.text(value))"
        case .hash(let hash): "hash \(hash)"
        }
    }

    private static func text(_ item: RangePage.Item) -> String { "\(brief(item.key)): \(brief(item.value))" }

    private static func text(_ value: StoredValue?) -> String {
        value.map { "\(brief($0.bytes)) of \($0.version)" } ?? "none"
    }
}

/// A list of operations made of one seed, and the answers that a sorted dictionary gives to them.
struct ModelPlan {
    static let viewSlots = 3

    private(set) var operations: [ModelOperation] = []
    /// One for each operation; nil where it gives no answer or the dictionary does not know it.
    private(set) var answers: [ModelAnswer?] = []
    private(set) var log = TestLog()
    /// Whether the tables are in order when everything is deleted in the end.
    let isClearedAfterMerges: Bool
    /// Some values are so much larger than the mean that nobody can guess what a tombstone hides.
    let hasLargeValues: Bool
    private var random: SeededGenerator
    private let maxKeyBytes: Int
    /// What some keys end with: such keys make edits of the manifest long.
    private let ending: [UInt8]
    private var views = [Model?](repeating: nil, count: ModelPlan.viewSlots)

    init(seed: UInt64, operations count: Int) throws {
        random = SeededGenerator(seed)
        isClearedAfterMerges = seed % 2 == 0
        hasLargeValues = seed % 3 == 0
        maxKeyBytes = Int.random(in: 2...4, using: &random)
        ending = [UInt8](repeating: 112, count: seed % 4 == 0 ? 4_000 : 20)
        for _ in 0..<count { try add(try nextOperation()) }
        try add(.stateHash)
    }

    /// The dictionary after the first entries of the log.
    func model(at index: LogIndex) throws -> Model {
        var model = Model()
        for entry in log.entries.prefix(Int(index)) { try model.apply(entry) }
        return model
    }

    // MARK: Operations

    private mutating func nextOperation() throws -> ModelOperation {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<30:
            for _ in 0..<Int.random(in: 1...4, using: &random) { try appendEntry() }
            return .write(upTo: LogIndex(log.entries.count))
        case 30..<38: return .get(randomKey())
        case 38..<50:
            return .range(
                start: Bool.random(using: &random) ? [] : randomKey(),
                end: Bool.random(using: &random) ? [] : randomKey(), limit: Int.random(in: 1...20, using: &random),
                maxBytes: Int.random(in: 0...3_000, using: &random), isReversed: Bool.random(using: &random))
        case 50..<57:
            return .walk(
                start: randomKey(),
                steps: (0..<Int.random(in: 1...15, using: &random)).map { _ in Bool.random(using: &random) })
        case 57: return .stateHash
        case 58..<62: return .openView(slot: randomSlot())
        case 62..<68:
            return .readView(slot: randomSlot(), key: randomKey(), isReversed: Bool.random(using: &random))
        case 68..<71: return .releaseView(slot: randomSlot())
        case 71..<79: return .flush
        case 79..<90: return .work(jobs: Int.random(in: 1...6, using: &random))
        case 90: return .compact
        case 91:
            return .sweep(isAskedFor: Bool.random(using: &random), jobs: Int.random(in: 1...60, using: &random))
        case 92: return .fullDisk(room: Int.random(in: 0...4_000, using: &random))
        case 93:
            guard !log.entries.isEmpty else { return .flush }
            return .snapshot(
                chunkBytes: [1, 500, 50_000].randomElement(using: &random)!,
                crashAfter: Bool.random(using: &random) ? Int.random(in: 0...60, using: &random) : nil,
                keep: MemoryFileSystem.Keep.allCases.randomElement(using: &random)!)
        case 94..<96: return .reopen
        default:
            return .crash(
                after: Int.random(in: 0...80, using: &random),
                keep: MemoryFileSystem.Keep.allCases.randomElement(using: &random)!)
        }
    }

    private mutating func randomSlot() -> Int {
        Int.random(in: 0..<Self.viewSlots, using: &random)
    }

    private mutating func randomKey() -> [UInt8] {
        let length = Int.random(in: 1...maxKeyBytes, using: &random)
        let key = (0..<length).map { _ in [0, 1, 97, 255].randomElement(using: &random)! as UInt8 }
        return Int.random(in: 0..<4, using: &random) == 0 ? key + ending : key
    }

    private mutating func appendEntry() throws {
        switch Int.random(in: 0..<30, using: &random) {
        case 0: try log.append(ByteBuffer(), kind: .noOp)
        case 1: try log.append(ByteBuffer(integer: random.next()), kind: .configuration)
        default:
            var command = ByteBuffer()
            let count = Int.random(in: 1...6, using: &random)
            Command.writeHeader(operationCount: count, into: &command)
            for _ in 0..<count {
                let key = randomKey()
                guard Int.random(in: 0..<3, using: &random) > 0 else {
                    Command.writeDelete(key: key, into: &command)
                    continue
                }
                let isLarge = hasLargeValues && Int.random(in: 0..<100, using: &random) == 0
                let length = isLarge ? 80_000 : Int.random(in: 0...600, using: &random)
                let byte = UInt8.random(in: 0...255, using: &random)
                Command.writePut(key: key, value: [UInt8](repeating: byte, count: length), into: &command)
            }
            try log.append(command)
        }
    }

    // MARK: Answers

    private mutating func add(_ operation: ModelOperation) throws {
        operations.append(operation)
        answers.append(answer(to: operation))
    }

    private mutating func answer(to operation: ModelOperation) -> ModelAnswer? {
        switch operation {
        case .get(let key): return .value(log.model.values[key])
        case .range(let start, let end, let limit, let maxBytes, let isReversed):
            let items = log.model.items(from: start, to: end)
            return .page(
                Self.page(isReversed ? items.reversed() : items, limit, maxBytes, isReversed: isReversed))
        case .walk(let start, let steps): return .walk(walk(from: start, steps))
        case .openView(let slot): views[slot] = log.model
        case .readView(let slot, let key, let isReversed):
            guard let model = views[slot] else { return nil }
            let items = model.items(from: [], to: [])
            return .view(items: isReversed ? items.reversed() : items, value: model.values[key])
        case .releaseView(let slot): views[slot] = nil
        case .write, .stateHash, .flush, .work, .compact, .sweep, .fullDisk, .snapshot, .reopen, .crash: break
        }
        return nil
    }

    private static func page(_ items: [RangePage.Item], _ limit: Int, _ maxBytes: Int, isReversed: Bool) -> RangePage {
        var page = RangePage(items: [], next: nil)
        var bytes = 0
        for item in items {
            bytes += item.key.count + item.value.count
            if let last = page.items.last, page.items.count == limit || bytes > maxBytes {
                page.next = isReversed ? last.key : item.key
                break
            }
            page.items.append(item)
        }
        return page
    }

    /// The keys of clients, and before them that of the configuration, as the engine's cursor has them.
    private func walk(from start: [UInt8], _ steps: [Bool]) -> [RangePage.Item?] {
        var items = log.model.items(from: [], to: [])
        let user = items.firstIndex { !$0.key.lexicographicallyPrecedes(start) }
        var position = user ?? items.endIndex
        if let configuration = log.model.configuration {
            items.insert(.init(key: Array("configuration".utf8), value: configuration.bytes), at: 0)
            position += 1
        }
        var found: [RangePage.Item?] = [items.indices.contains(position) ? items[position] : nil]
        for isBack in steps where items.indices.contains(position) {
            position += isBack ? -1 : 1
            found.append(items.indices.contains(position) ? items[position] : nil)
        }
        return found
    }
}
