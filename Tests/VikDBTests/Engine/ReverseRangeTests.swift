import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Ranges from their last key to the first: the same items as forth, bounded in the same way.
struct ReverseRangeTests {
    private func open(_ change: (inout EngineOptions) -> Void = { _ in }) throws -> Engine {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        change(&options)
        return try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: options)
    }

    /// Checks each of `ranges`, both ways, while everything is in the memtable, in tables and in levels.
    private func expectModel(_ log: TestLog, ranges: [(start: [UInt8], end: [UInt8])]) throws {
        let engine = try open {
            $0.blockBytes = 64
            $0.maxTableBytes = 200
            $0.level0MergeTables = 2
        }
        let half = log.entries.count / 2
        _ = try engine.apply(Array(log.entries[..<half]))
        for stage in ["tables and memtable", "tables", "levels"] {
            switch stage {
            case "tables and memtable":
                engine.requestFlush()
                try engine.takeBackgroundJob()?.run()
                try log.bringUp(engine)
            case "tables":
                engine.requestFlush()
                try engine.takeBackgroundJob()?.run()
            default: try engine.runJobs()
            }
            for range in ranges {
                let expected = log.model.items(from: range.start, to: range.end)
                let comment: Comment = "\(range) in \(stage)"
                #expect(try engine.view().items(from: range.start, to: range.end) == expected, comment)
                let reversed = try engine.view().reversedItems(from: range.start, to: range.end, limit: 3)
                #expect(reversed == expected.reversed(), comment)
            }
        }
    }

    @Test func tombstonesAtBothEnds() throws {
        var log = TestLog()
        for key in 0..<40 as Range<UInt8> { try log.append(Command.put(key: [key], value: [key])) }
        for key in [0, 1, 2, 20, 21, 38, 39] as [UInt8] { try log.append(Command.delete(key: [key])) }
        try expectModel(
            log, ranges: [([], []), ([0], [40]), ([1], [3]), ([20], [22]), ([2], [21]), ([38], []), ([39], [])])
    }

    @Test func emptyRanges() throws {
        try expectModel(TestLog(), ranges: [([], []), ([1], []), ([], [1])])
        var log = TestLog()
        for key in [10, 20, 30] as [UInt8] { try log.append(Command.put(key: [key], value: [])) }
        try expectModel(
            log, ranges: [([20], [20]), ([21], [20]), ([30], [10]), ([11], [20]), ([31], []), ([], [10]), ([], [0])])
    }

    @Test func prefixesOfTheLastByte() throws {
        var log = TestLog()
        for key in [[255], [255, 0], [255, 255], [255, 255, 255], [254], [254, 255], [254, 255, 255]] as [[UInt8]] {
            try log.append(Command.put(key: key, value: key))
        }
        try log.append(Command.delete(key: [255, 255]))
        try log.append(Command.put(key: [UInt8](repeating: 255, count: WireLimits.maxKeyBytes), value: [1]))
        try expectModel(
            log,
            ranges: [
                ([], []), ([255], []), ([255, 255], []), ([254], [255]), ([], [255]), ([254, 255], [255, 255]),
                ([255, 255, 255], []), ([255], [255, 0]), ([], [255, 255, 255, 255]),
            ])
    }

    @Test func clientsNeverSeeTheSystemSpace() throws {
        let engine = try open()
        _ = try engine.apply([
            Entry(index: 1, term: 1, kind: .configuration, payload: ByteBuffer(string: "members")),
            Entry(index: 2, term: 1, kind: .command, payload: Command.put(key: [0], value: [1])),
            Entry(index: 3, term: 1, kind: .command, payload: Command.delete(key: [0])),
            Entry(index: 4, term: 1, kind: .command, payload: Command.put(key: [1], value: [1])),
        ])
        for _ in 0..<2 {
            #expect(try engine.view().reversedItems().map(\.key) == [[1]])
            #expect(try engine.view().reversedItems(to: [1]).isEmpty)
            try engine.flush()
        }
    }

    @Test func pagesAreBoundedAndNameTheirEnd() throws {
        let engine = try open()
        var log = TestLog()
        for number in 0..<5 { try log.append(Command.put(key: [UInt8(number)], value: [1, 2, 3])) }
        try log.bringUp(engine)
        func page(_ start: [UInt8], _ end: [UInt8], _ limit: Int, _ maxBytes: Int) throws -> ([UInt8], [UInt8]?) {
            let page = try engine.view().reverseRange(from: start, to: end, limit: limit, maxBytes: maxBytes)
            return (page.items.map { $0.key[0] }, page.next)
        }
        #expect(try page([], [], 10, 1_000) == ([4, 3, 2, 1, 0], nil))
        #expect(try page([], [], 5, 1_000) == ([4, 3, 2, 1, 0], nil))
        #expect(try page([], [], 2, 1_000) == ([4, 3], [3]))
        #expect(try page([], [3], 2, 1_000) == ([2, 1], [1]))
        #expect(try page([], [], 10, 8) == ([4, 3], [3]))
        #expect(try page([], [], 10, 0) == ([4], [4]))
        #expect(try page([1], [3], 10, 1_000) == ([2, 1], nil))
        #expect(try page([1], [3], 2, 1_000) == ([2, 1], nil))
        #expect(try page([3], [1], 10, 1_000) == ([], nil))
        #expect(try page([4, 0], [], 10, 1_000) == ([], nil))
    }

    @Test func aPageStepsOverABoundedNumberOfTombstones() throws {
        let engine = try open { $0.memtableMaxBytes = 32 << 20 }
        var log = TestLog()
        func key(_ number: Int) -> [UInt8] { [UInt8(number >> 16), UInt8(number >> 8 & 255), UInt8(number & 255)] }
        try log.append(Command.put(key: [0], value: [9]))
        for start in stride(from: 1_000, to: 151_000, by: 1_000) {
            var batch = ByteBuffer()
            Command.writeHeader(operationCount: 1_000, into: &batch)
            for number in start..<start + 1_000 { Command.writeDelete(key: key(number), into: &batch) }
            try log.append(batch)
        }
        try log.bringUp(engine)
        for _ in 0..<2 {
            let first = try engine.view().reverseRange(from: [], to: [], limit: 10, maxBytes: 1_000)
            #expect(first == RangePage(items: [], next: key(51_000)))
            #expect(try engine.view().reversedItems().map(\.key) == [[0]])
            try engine.flush()
        }
    }

    /// A key with any number of versions costs two searches, not a walk, and never stops a page from getting on.
    @Test func aHotKeyDoesNotHoldUpARange() throws {
        let engine = try open { $0.memtableMaxBytes = 64 << 20 }
        let payload = Command.put(key: [5], value: [1])
        let other = Command.put(key: [4], value: [2])
        _ = try engine.apply(Entry.batch(from: 1, term: 1, kind: .command, payloads: [payload, other]))
        let view = engine.view()
        _ = try engine.apply(
            Entry.batch(from: 3, term: 1, kind: .command, payloads: [ByteBuffer](repeating: payload, count: 250_000)))
        for view in [view, engine.view()] {
            let page = try view.reverseRange(from: [], to: [], limit: 10, maxBytes: 1_000)
            #expect(page == RangePage(items: [.init(key: [5], value: [1]), .init(key: [4], value: [2])], next: nil))
        }
    }
}
