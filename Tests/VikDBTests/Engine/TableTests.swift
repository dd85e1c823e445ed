import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// The index of a table: how short its keys are, and that searches find the right block all the same.
struct TableTests {
    private func internalKey(_ stem: [UInt8], index: LogIndex, ordinal: UInt32) -> [UInt8] {
        var key = ByteBuffer(bytes: stem)
        key.writeMultipleIntegers(index, ordinal, UInt8(1))
        return Array(key.readableBytesView)
    }

    private func compare(_ left: [UInt8], _ right: [UInt8]) -> Int {
        left.withUnsafeBytes { left in right.withUnsafeBytes { InternalKey.compare(left, $0) } }
    }

    @Test func separatorsLieBetweenAllVersionsOfTwoKeys() throws {
        for seed in seeds(1) {
            var random = SeededGenerator(seed)
            for _ in 0..<20_000 {
                let stems = (0..<2).map { _ in
                    [UInt8.random(in: 0...1, using: &random)]
                        + (0..<Int.random(in: 0...5, using: &random)).map { _ in
                            [0, 1, 254, 255].randomElement(using: &random)!
                        }
                }.sorted { $0.lexicographicallyPrecedes($1) }
                guard stems[0] != stems[1] else { continue }
                let index = LogIndex.random(in: 1...WireLimits.maxIndex, using: &random)
                let last = internalKey(stems[0], index: index, ordinal: 3)
                let next = internalKey(stems[1], index: index, ordinal: 3)
                let separator = last.withUnsafeBytes { last in
                    next.withUnsafeBytes { InternalKey.separator(after: last, before: $0) }
                }
                let comment: Comment = "seed \(seed): \(stems)"
                try #require(compare(last, separator) < 0, comment)
                try #require(compare(internalKey(stems[0], index: 0, ordinal: 0), separator) < 0, comment)
                try #require(compare(separator, next) < 0, comment)
                let newest = internalKey(stems[1], index: WireLimits.maxIndex, ordinal: .max)
                try #require(compare(separator, newest) < 0, comment)
                let shared = zip(stems[0], stems[1]).prefix { $0 == $1 }.count
                try #require(separator.count == shared + 1 + InternalKey.trailerBytes, comment)
            }
        }
    }

    /// A block for every key or two, keys that are prefixes of one another, and searches for what lies between them.
    @Test func searchesFindTheRightBlock() throws {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.blockBytes = 64
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: options)
        var log = TestLog()
        var keys: [[UInt8]] = []
        for length in 1...40 {
            let stem = [UInt8](repeating: 97, count: length)
            keys += [stem, stem + [0], stem + [96], stem + [98], stem + [255, 255]]
        }
        for key in keys { try log.append(Command.put(key: key, value: key)) }
        try log.bringUp(engine)
        try engine.flush()
        try expectEqual(engine, log.model)
        let view = engine.view()
        for key in keys {
            for probe in [key + [0], key + [1], key + [255], Array(key.dropLast()) + [99]] {
                let found = try view.execute(.get(key: probe))
                try #require(found == .value(log.model.values[probe]), "\(probe)")
                let following = try view.items(from: probe)
                try #require(following == log.model.items(from: probe, to: []), "\(probe)")
            }
        }
    }

    /// Long keys that differ early: the index has next to nothing of them.
    @Test func theIndexHasOnlyWhatTellsBlocksApart() throws {
        var options = EngineOptions()
        options.memtableMaxBytes = 2 << 20
        options.blockBytes = 64
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: options)
        var log = TestLog()
        let padding = String(repeating: "k", count: 4_000)
        for number in 100..<300 { try log.put("\(number)" + padding, "value") }
        try log.bringUp(engine)
        try engine.flush()
        try expectEqual(engine, log.model)
        #expect(engine.statistics.tableCount == 1)
        #expect(engine.statistics.tableBytes < 200 * 4_200)
    }

    /// Long keys that differ late make an index as large as the data: it counts for where a table ends.
    @Test func tablesAreBoundedWithTheirIndex() throws {
        var options = EngineOptions()
        options.memtableMaxBytes = 2 << 20
        options.blockBytes = 64
        options.maxTableBytes = 100_000
        options.level0MergeTables = 2
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: options)
        var log = TestLog()
        let padding = String(repeating: "k", count: 4_000)
        for _ in 0..<2 {
            for number in 100..<200 { try log.put(padding + "\(number)", "value") }
            try log.bringUp(engine)
            try engine.flush()
        }
        try expectEqual(engine, log.model)
        let level = engine.statistics.levels[1]
        #expect(level.tables > 6)
        #expect(level.bytes / UInt64(level.tables) < options.maxTableBytes + 10_000)
    }
}
