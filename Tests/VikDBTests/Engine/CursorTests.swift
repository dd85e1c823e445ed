import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Every kind of cursor, walked both ways and turned round anywhere, against a sorted array.
struct CursorTests {
    private struct Version {
        var key: [UInt8]
        var index: LogIndex
        var ordinal: UInt32
        /// Nil: a tombstone.
        var value: [UInt8]?

        var entry: WalkedEntry {
            var key = ByteBuffer(integer: UInt8(1))
            key.writeBytes(self.key)
            key.writeMultipleIntegers(index, ordinal, UInt8(value == nil ? 2 : 1))
            return WalkedEntry(key: Array(key.readableBytesView), value: value ?? [])
        }
    }

    private static func precedes(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.withUnsafeBytes { left in right.withUnsafeBytes { InternalKey.compare(left, $0) < 0 } }
    }

    /// Many keys that are prefixes of one another, or end with the last byte there is.
    private static func key(_ random: inout SeededGenerator, lengths: ClosedRange<Int> = 1...5) -> [UInt8] {
        (0..<Int.random(in: lengths, using: &random)).map { _ in [0, 1, 97, 255].randomElement(using: &random)! }
    }

    private static func value(_ random: inout SeededGenerator) -> [UInt8] {
        (0..<Int.random(in: 0...30, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    private static func versions(_ count: Int, _ random: inout SeededGenerator) -> [Version] {
        guard count > 0 else { return [] }
        return (1...LogIndex(count)).flatMap { index in
            (0...UInt32.random(in: 0...2, using: &random)).map { ordinal in
                let isDelete = Int.random(in: 0..<3, using: &random) == 0
                return Version(
                    key: key(&random), index: index, ordinal: ordinal, value: isDelete ? nil : value(&random))
            }
        }
    }

    /// Of each key the version that a flush of all of them keeps.
    private static func newest(_ versions: [Version]) -> [Version] {
        var newest: [[UInt8]: Version] = [:]
        for version in versions { newest[version.key] = version }
        return Array(newest.values)
    }

    private static func targets(_ random: inout SeededGenerator) -> [[UInt8]] {
        (0..<40).map { _ in
            let index = [0, 5, .max].randomElement(using: &random)! as LogIndex
            return Version(key: key(&random, lengths: 0...6), index: index, ordinal: 0, value: []).entry.key
        }
    }

    /// Walks the cursors that `make` gives, one for each seed.
    private func walk(
        seeds count: Int, steps: Int = 400, sourceLocation: SourceLocation = #_sourceLocation,
        _ make: (inout SeededGenerator) throws -> (any WalkedCursor, [Version])
    ) throws {
        var turns = 0
        for seed in seeds(count) {
            var random = SeededGenerator(seed)
            let (cursor, versions) = try make(&random)
            var walk = CursorWalk(versions.map(\.entry), by: Self.precedes)
            let targets = Self.targets(&random)
            try walk.run(cursor, targets: targets, steps: steps, &random, "replay with VIK_SEED=\(seed)")
            turns += walk.turns
        }
        #expect(turns > 0, "nothing was turned round", sourceLocation: sourceLocation)
    }

    @Test func blocks() throws {
        // The last interval is longer than what a cursor keeps for the way back.
        for interval in [1, 2, 3, 16, 200] {
            try walk(seeds: 20) { random in
                let versions = Self.newest(Self.versions([1, 2, 40, 150].randomElement(using: &random)!, &random))
                let block = Self.block(versions.map(\.entry).sorted { Self.precedes($0.key, $1.key) }, interval)
                return (try BlockWalk(block), versions)
            }
        }
    }

    private static func block(_ entries: [WalkedEntry], _ restartInterval: Int) -> Block {
        var builder = BlockBuilder(restartInterval: restartInterval)
        for entry in entries {
            entry.key.withUnsafeBytes { key in entry.value.withUnsafeBytes { builder.add(key, $0) } }
        }
        var bytes: [UInt8] = []
        builder.finish { bytes = Array($0.readableBytesView) }
        return block(bytes)
    }

    private static func block(_ bytes: [UInt8]) -> Block {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
        memory.copyBytes(from: bytes)
        return Block(adopting: memory.baseAddress!, count: bytes.count, path: "/db/1.sst", offset: 0)
    }

    /// What no writer makes, but a checksum may cover, is an error when the block is read.
    @Test func damagedBlocks() throws {
        let bytes = Self.fourEntries()
        // Two restarts and their number; each entry has 8 bytes of lengths, 15 of the key, but one shared, and 2.
        let (first, second) = (bytes.count - 12, bytes.count - 8)
        #expect(bytes[first + 3] == 0 && bytes[second + 3] == 49)
        for (position, offset) in [(first, 25), (second, 25), (second, 48), (second, 50)] as [(Int, UInt8)] {
            var damaged = bytes
            damaged[position + 3] = offset
            #expect(throws: StorageError.self, "\(position): \(offset)") {
                try Self.block(damaged).checkEntries()
            }
        }
    }

    /// Whatever its bytes are, a block is refused or can be walked: no step leaves it.
    @Test func anyBytesAreRefusedOrWalked() throws {
        let bytes = Self.fourEntries()
        var refused = 0
        var walked = 0
        for position in bytes.indices {
            for bits in [1, 2, 4, 8, 16, 32, 64, 128, 255] as [UInt8] {
                var damaged = bytes
                damaged[position] ^= bits
                guard let walk = try? BlockWalk(Self.block(damaged)) else {
                    refused += 1
                    continue
                }
                walked += 1
                try walk.seek(Version(key: [], index: 9, ordinal: 0, value: nil).entry.key)
                var found = 0
                while walk.entry != nil {
                    found += 1
                    try walk.next()
                }
                try #require(found <= 4)
                try walk.seekToLast()
                while walk.entry != nil { try walk.previous() }
                for key in 0...5 as ClosedRange<UInt8> {
                    let target = Version(key: [key], index: 1, ordinal: 0, value: nil).entry.key
                    try walk.seek(target)
                    try walk.seek(before: target)
                }
            }
        }
        #expect(refused > 100 && walked > 100, "\(refused) refused, \(walked) walked")
    }

    private static func fourEntries() -> [UInt8] {
        let versions = (1...4).map { Version(key: [UInt8($0)], index: 1, ordinal: 0, value: [7, 7]) }
        var bytes: [UInt8] = []
        var builder = BlockBuilder(restartInterval: 2)
        for entry in versions.map(\.entry) {
            entry.key.withUnsafeBytes { key in entry.value.withUnsafeBytes { builder.add(key, $0) } }
        }
        builder.finish { bytes = Array($0.readableBytesView) }
        return bytes
    }

    @Test func memtables() throws {
        try walk(seeds: 30) { random in
            let memtable = Memtable(capacity: 1 << 20)
            let versions = Self.versions([0, 1, 30, 300].randomElement(using: &random)!, &random)
            for version in versions {
                version.key.withUnsafeBytes { key in
                    guard let value = version.value else {
                        return memtable.insert(.user, key, nil, index: version.index, ordinal: version.ordinal)
                    }
                    value.withUnsafeBytes {
                        memtable.insert(.user, key, $0, index: version.index, ordinal: version.ordinal)
                    }
                }
            }
            return (MemtableCursor(memtable), versions)
        }
    }

    private func engine(_ change: (inout EngineOptions) -> Void) throws -> Engine {
        var options = EngineOptions()
        options.memtableMaxBytes = 1 << 20
        options.blockBytes = 64
        options.level0MergeTables = 100
        options.level0SlowdownTables = 100
        options.level0StallTables = 100
        change(&options)
        return try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: options)
    }

    /// One entry for each index, with the operations in the order of their ordinals.
    private func apply(_ versions: [Version], to engine: Engine) throws {
        let start = engine.appliedIndex
        let entries = Dictionary(grouping: versions, by: \.index).sorted { $0.key < $1.key }.map { index, versions in
            var command = ByteBuffer()
            Command.writeHeader(operationCount: versions.count, into: &command)
            for version in versions {
                if let value = version.value {
                    Command.writePut(key: version.key, value: value, into: &command)
                } else {
                    Command.writeDelete(key: version.key, into: &command)
                }
            }
            return Entry(index: start + index, term: 1, kind: .command, payload: command)
        }
        _ = try engine.apply(entries)
    }

    @Test(arguments: [64, 300, 4_096]) func tables(blockBytes: Int) throws {
        try walk(seeds: 12) { random in
            let engine = try engine { $0.blockBytes = blockBytes }
            let versions = Self.versions([1, 30, 300].randomElement(using: &random)!, &random)
            try apply(versions, to: engine)
            try engine.flush()
            #expect(engine.statistics.tableCount == 1)
            return (engine.view().runs()[1], Self.newest(versions))
        }
    }

    @Test func levels() throws {
        var most = 0
        try walk(seeds: 20) { random in
            let engine = try engine {
                $0.level0MergeTables = 2
                $0.maxTableBytes = [1, 400, 4_000].randomElement(using: &random)!
            }
            let versions = Self.versions([10, 100, 300].randomElement(using: &random)!, &random)
            let half = LogIndex(versions.last!.index / 2)
            for part in [versions.filter { $0.index <= half }, versions.filter { $0.index > half }] {
                var part = part
                for position in part.indices { part[position].index -= engine.appliedIndex }
                try apply(part, to: engine)
                engine.requestFlush()
            }
            try engine.runJobs()
            #expect(engine.statistics.levels[0].tables == 0)
            most = max(most, engine.statistics.levels[1].tables)
            // Nothing lies below, so the merge has dropped the tombstones.
            return (engine.view().runs()[1], Self.newest(versions).filter { $0.value != nil })
        }
        #expect(most > 100)
    }

    /// Memtables, tables of level 0 and levels, with versions of the same keys in each.
    @Test func merges() throws {
        try walk(seeds: 20) { random in
            let engine = try engine {
                $0.level0MergeTables = 3
                $0.level1Bytes = 1_500
                $0.levelRatio = 2
                $0.maxTableBytes = 400
            }
            for _ in 0..<12 {
                try apply(Self.versions(Int.random(in: 1...40, using: &random), &random), to: engine)
                if Bool.random(using: &random) { engine.requestFlush() }
                for _ in 0..<Int.random(in: 0...3, using: &random) { try engine.takeBackgroundJob()?.run() }
            }
            let view = engine.view()
            var versions: [Version] = []
            for run in view.runs() {
                let first = SearchKey.first()
                try run.seek(first.bytes)
                while let entry = run.entry {
                    versions.append(try #require(Self.version(entry)))
                    try run.next()
                }
            }
            return (MergeCursor(view.runs()), versions)
        }
    }

    private static func version(_ entry: WalkedEntry) -> Version? {
        var trailer = ByteBuffer(bytes: entry.key.suffix(13))
        return trailer.readMultipleIntegers(as: (UInt64, UInt32, UInt8).self).map { index, ordinal, kind in
            Version(
                key: Array(entry.key.dropFirst().dropLast(13)), index: index, ordinal: ordinal,
                value: kind == 2 ? nil : entry.value)
        }
    }

    /// The keys that exist at one index, over many versions, also later ones.
    @Test func views() throws {
        var turns = 0
        for seed in seeds(40) {
            var random = SeededGenerator(seed)
            let engine = try engine {
                $0.level0MergeTables = 2
                $0.level1Bytes = 1_500
                $0.levelRatio = 2
                $0.maxTableBytes = 400
            }
            var values: [[UInt8]: [UInt8]] = [:]
            func work() throws {
                // Keys of one byte get more versions than are stepped over.
                var versions = Self.versions(Int.random(in: 1...60, using: &random), &random)
                for position in versions.indices where Bool.random(using: &random) {
                    versions[position].key = Array(versions[position].key.prefix(1))
                }
                try apply(versions, to: engine)
                for version in versions { values[version.key] = version.value }
                if Bool.random(using: &random) { engine.requestFlush() }
                for _ in 0..<Int.random(in: 0...3, using: &random) { try engine.takeBackgroundJob()?.run() }
            }
            for _ in 0..<Int.random(in: 0...6, using: &random) { try work() }
            let view = engine.view()
            var walk = CursorWalk(values.map { WalkedEntry(key: $0, value: $1) }) { $0.lexicographicallyPrecedes($1) }
            for _ in 0..<Int.random(in: 0...3, using: &random) { try work() }
            let targets = (0..<40).map { _ in Self.key(&random, lengths: 0...6) }
            try walk.run(
                VisibleWalk(view), targets: targets, steps: 400, &random, "replay with VIK_SEED=\(seed)")
            turns += walk.turns
        }
        #expect(turns > 0)
    }
}
