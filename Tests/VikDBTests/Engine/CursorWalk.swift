import Testing
import VikDB
import VikWire

/// A cursor of any kind, as a walk moves it: keys are whole, of the kind that the cursor has.
protocol WalkedCursor: AnyObject {
    /// Nil where the cursor is not valid.
    var entry: WalkedEntry? { get }

    func seek(_ target: [UInt8]) throws
    func seek(before target: [UInt8]) throws
    func seekToLast() throws
    func next() throws
    func previous() throws
}

struct WalkedEntry: Equatable {
    var key: [UInt8]
    var value: [UInt8]
}

/// Moves a cursor at random and compares each position with a sorted array.
struct CursorWalk {
    let entries: [WalkedEntry]
    let precedes: ([UInt8], [UInt8]) -> Bool
    private(set) var turns = 0

    /// - Parameter precedes: the order of keys, which `entries` are put in.
    init(_ entries: [WalkedEntry], by precedes: @escaping ([UInt8], [UInt8]) -> Bool) {
        self.entries = entries.sorted { precedes($0.key, $1.key) }
        self.precedes = precedes
    }

    /// Walks all entries both ways, then takes `steps` at random, with `targets` and the entries' keys to look for.
    mutating func run(
        _ cursor: some WalkedCursor, targets: [[UInt8]], steps: Int, _ random: inout SeededGenerator,
        _ comment: Comment
    ) throws {
        try cursor.seekToLast()
        for entry in entries.reversed() {
            try #require(cursor.entry == entry, comment)
            try cursor.previous()
        }
        try #require(cursor.entry == nil, comment)
        let targets = targets + entries.map(\.key)
        var position: Int?
        var wasReversed = false
        for _ in 0..<steps {
            let isLongWalk = position != nil && Int.random(in: 0..<4, using: &random) > 0
            switch isLongWalk ? Int.random(in: 4...5, using: &random) : Int.random(in: 0...5, using: &random) {
            case 0:
                try cursor.seekToLast()
                position = entries.indices.last
                wasReversed = true
            case 1, 2:
                guard let target = targets.randomElement(using: &random) else { continue }
                try cursor.seek(before: target)
                position = entries.lastIndex { precedes($0.key, target) }
                wasReversed = true
            case 3:
                guard let target = targets.randomElement(using: &random) else { continue }
                try cursor.seek(target)
                position = entries.firstIndex { !precedes($0.key, target) }
                wasReversed = false
            default:
                guard let start = position else { continue }
                let isReversed = Bool.random(using: &random)
                if isReversed != wasReversed { turns += 1 }
                wasReversed = isReversed
                var next = start
                for _ in 0..<Int.random(in: 1...5, using: &random) where entries.indices.contains(next) {
                    try #require(cursor.entry == entries[next], comment)
                    if isReversed { try cursor.previous() } else { try cursor.next() }
                    next += isReversed ? -1 : 1
                }
                position = entries.indices.contains(next) ? next : nil
            }
            try #require(cursor.entry == position.map { entries[$0] }, comment)
        }
    }
}

// MARK: - The kinds

/// Memtables, tables, levels and merges.
extension Cursor: WalkedCursor {
    var entry: WalkedEntry? {
        isValid ? WalkedEntry(key: [UInt8](key), value: [UInt8](value)) : nil
    }

    func seek(_ target: [UInt8]) throws {
        // The bytes stay where they are for as long as the search takes.
        try target.withUnsafeBytes { target in try seek(target) }
    }

    func seek(before target: [UInt8]) throws {
        try target.withUnsafeBytes { target in try seek(before: target) }
    }
}

final class BlockWalk: WalkedCursor {
    private var cursor = BlockCursor()

    init(_ block: Block) throws {
        try block.checkEntries()
        cursor.open(block)
    }

    var entry: WalkedEntry? {
        cursor.isValid ? WalkedEntry(key: [UInt8](cursor.key), value: [UInt8](cursor.value)) : nil
    }

    func seek(_ target: [UInt8]) throws {
        target.withUnsafeBytes { target in cursor.seek(target) }
    }

    func seek(before target: [UInt8]) throws {
        target.withUnsafeBytes { target in cursor.seek(before: target) }
    }

    func seekToLast() throws { cursor.seekToLast() }
    func next() throws { cursor.next() }
    func previous() throws { cursor.previous() }
}

/// Keys are those of clients; the walk is for views whose system space is empty.
final class VisibleWalk: WalkedCursor {
    private var cursor: VisibleCursor

    init(_ view: EngineView) {
        cursor = view.cursor()
    }

    var entry: WalkedEntry? {
        cursor.isValid ? WalkedEntry(key: [UInt8](cursor.userKey), value: [UInt8](cursor.value)) : nil
    }

    func seek(_ target: [UInt8]) throws {
        try target.withUnsafeBytes { target in try cursor.seek(.user, target) }
    }

    func seek(before target: [UInt8]) throws {
        try target.withUnsafeBytes { target in try cursor.seek(.user, before: target) }
    }

    func seekToLast() throws { try cursor.seekToLast() }
    func next() throws { try cursor.next() }
    func previous() throws { try cursor.previous() }
}
