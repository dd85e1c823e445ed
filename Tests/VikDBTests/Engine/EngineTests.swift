import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What the engine promises, one promise a test.
struct EngineTests {
    private func open(
        _ fileSystem: MemoryFileSystem = MemoryFileSystem(), _ change: (inout EngineOptions) -> Void = { _ in }
    ) throws -> Engine {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        change(&options)
        return try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
    }

    @Test func resultsAreParallelToEntries() throws {
        let engine = try open()
        let noOp = Entry(index: 1, term: 1, kind: .noOp)
        let configuration = Entry(index: 2, term: 1, kind: .configuration, payload: ByteBuffer(string: "members"))
        var batch = ByteBuffer()
        Command.writeHeader(operationCount: 3, into: &batch)
        Command.writePut(key: [1], value: [1], into: &batch)
        Command.writePut(key: [2], value: [2], into: &batch)
        Command.writePut(key: [1], value: [3], into: &batch)
        let command = Entry(index: 3, term: 1, kind: .command, payload: batch)
        #expect(try engine.apply([noOp, configuration]) == [nil, nil])
        #expect(try engine.apply([command]) == [.applied(operations: 3)])
        #expect(engine.appliedIndex == 3)
        #expect(try engine.storedConfiguration() == StoredValue(bytes: Array("members".utf8), version: 2))
        let last = try engine.view().execute(.get(key: [1]))
        #expect(last == .value(StoredValue(bytes: [3], version: 3)))
        try engine.flush()
        let flushed = try engine.view().execute(.get(key: [1]))
        #expect(flushed == .value(StoredValue(bytes: [3], version: 3)))
    }

    @Test func clientsNeverSeeTheSystemSpace() throws {
        let engine = try open()
        _ = try engine.apply([
            Entry(index: 1, term: 1, kind: .configuration, payload: ByteBuffer(string: "members")),
            Entry(index: 2, term: 1, kind: .command, payload: Command.put(key: [255, 255], value: [1])),
        ])
        for _ in 0..<2 {
            #expect(try engine.view().items().map(\.key) == [[255, 255]])
            #expect(try engine.get("configuration") == nil)
            try engine.flush()
        }
    }

    @Test func aCommandThatDoesNotDecodeStopsTheEngine() throws {
        let engine = try open()
        var broken = Command.put(key: [1], value: [2])
        broken.writeInteger(UInt8(0))
        let entries = [
            Entry(index: 1, term: 1, kind: .command, payload: Command.put(key: [1], value: [1])),
            Entry(index: 2, term: 1, kind: .command, payload: broken),
        ]
        #expect(throws: StorageError.self) { _ = try engine.apply(entries) }
        #expect(engine.appliedIndex == 1)
        let value = try engine.view().execute(.get(key: [1]))
        #expect(value == .value(StoredValue(bytes: [1], version: 1)))
        #expect(throws: StorageError.self) { _ = try engine.apply([Entry(index: 2, term: 1, kind: .noOp)]) }
        engine.requestFlush()
        #expect(engine.takeBackgroundJob() == nil)
    }

    @Test func anEntryLargerThanAMemtableGetsItsOwn() throws {
        let fileSystem = MemoryFileSystem()
        var log = TestLog()
        let engine = try open(fileSystem)
        try log.put("before", "1")
        var batch = ByteBuffer()
        Command.writeHeader(operationCount: 8, into: &batch)
        for number in 0..<8 as Range<UInt8> {
            Command.writePut(
                key: [number], value: [UInt8](repeating: number, count: WireLimits.maxValueBytes), into: &batch)
        }
        try log.append(batch)
        try log.put("after", String(repeating: "2", count: 5_000))
        try log.bringUp(engine)
        #expect(engine.statistics.sealedMemtables == 2)
        #expect(engine.isStalled)
        try expectEqual(engine, log.model)
        try engine.runJobs()
        #expect(!engine.isStalled)
        #expect(engine.flushed == FlushedPosition(index: 2, term: 1))
        try expectEqual(engine, log.model)
    }

    @Test func oneJobAtATimeAndFlushesFirst() throws {
        let engine = try open { $0.level0MergeTables = 1 }
        var log = TestLog()
        for round in 0..<3 {
            try log.put("key", "\(round)")
            try log.bringUp(engine)
            engine.requestFlush()
        }
        for expected in 1...3 as ClosedRange<LogIndex> {
            let job = try #require(engine.takeBackgroundJob())
            #expect(engine.takeBackgroundJob() == nil)
            try job.run()
            #expect(engine.flushed.index == expected)
        }
        try engine.runJobs()
        #expect(engine.statistics.tableCount == 1)
        #expect(engine.statistics.levels[0].tables == 0)
    }

    @Test func pressureFollowsLevelZero() throws {
        let engine = try open {
            $0.level0MergeTables = 2
            $0.level0SlowdownTables = 3
            $0.level0StallTables = 5
        }
        var log = TestLog()
        for tables in 0..<5 {
            #expect(engine.pressure == (tables < 3 ? .none : .slowdown), "\(tables) tables")
            try log.put("key", "\(tables)")
            try log.bringUp(engine)
            engine.requestFlush()
            try #require(engine.takeBackgroundJob()).run()
        }
        #expect(engine.pressure == .stall && engine.isStalled)
        try engine.runJobs()
        #expect(engine.pressure == .none)
    }

    /// Every figure against the files themselves.
    @Test func workIsCounted() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try open(fileSystem) {
            $0.level0MergeTables = 2
            $0.level1Bytes = 1
            $0.levelRatio = 1 << 40
        }
        func tableBytes() throws -> UInt64 {
            let names = try fileSystem.list("/db").filter { $0.hasSuffix(".sst") }
            return UInt64(names.reduce(0) { $0 + fileSystem.contents(of: "/db/" + $1)!.count })
        }
        func runJob() throws { try #require(engine.takeBackgroundJob()).run() }
        var expected = EngineWork()
        var log = TestLog()
        try log.append(ByteBuffer(string: "members"), kind: .configuration)
        try log.put("key1", "value")
        try log.delete("key2")
        try log.bringUp(engine)
        expected.appliedBytes = 4 + 5 + 4
        #expect(engine.statistics.work == expected)
        engine.requestFlush()
        try runJob()
        expected.flushes = 1
        expected.flushWrittenBytes = try tableBytes()
        #expect(engine.statistics.work == expected)
        try log.put("key1", "longer value")
        try log.bringUp(engine)
        engine.requestFlush()
        try runJob()
        expected.appliedBytes += 4 + 12
        expected.flushes = 2
        expected.flushWrittenBytes = try tableBytes()
        expected.mergeReadBytes = try tableBytes()
        try runJob()
        expected.merges = 1
        expected.mergesByCause = [.size: 1]
        expected.mergeWrittenBytes = try tableBytes() - expected.mergeReadBytes
        #expect(engine.statistics.work == expected)
        try engine.runJobs()
        expected.moves = 1
        #expect(engine.statistics.work == expected)
        #expect(try tableBytes() == expected.mergeWrittenBytes && engine.statistics.levels[2].tables == 1)
        #expect(try open(fileSystem).statistics.work == EngineWork())
    }

    /// What a snapshot brings is no work of the engine, and what was applied before it stays counted.
    @Test func aSnapshotLeavesTheWorkAsItIs() throws {
        var log = TestLog()
        try log.put("key", "value")
        let engine = try open()
        try log.bringUp(engine)
        var work = engine.statistics.work
        #expect(work.appliedBytes == 8)
        try log.put("other", "value")
        let source = try open()
        try log.bringUp(source)
        let snapshot = engine.snapshotWriter(for: 2)
        for chunk in try source.snapshotReader().chunks(targetBytes: 1_000) { try snapshot.append(chunk) }
        try engine.install(snapshot, at: FlushedPosition(index: 2, term: 1))
        #expect(engine.statistics.work == work)
        try log.put("third", "value")
        try log.bringUp(engine)
        try expectEqual(engine, log.model)
        work.appliedBytes += 10
        #expect(engine.statistics.work == work)
    }

    @Test func overwritesLeaveABoundedNumberOfTables() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try open(fileSystem) {
            $0.maxTableBytes = 4_000
            $0.level1Bytes = 16_000
        }
        var log = TestLog()
        var most = 0
        for round in 0..<120 {
            for number in 0..<40 { try log.put("key\(number)", String(repeating: "\(round)", count: 20)) }
            try log.bringUp(engine)
            try engine.flush()
            most = max(most, engine.statistics.tableCount)
        }
        #expect(most <= 8, "40 keys of 60 bytes in up to \(most) tables")
        try expectEqual(engine, log.model)
        #expect(try fileSystem.list("/db").count == engine.statistics.tableCount + 2)
        #expect(fileSystem.openFileCount == engine.statistics.tableCount + 1)
    }

    @Test func tombstonesGoOnceNothingLiesBelow() throws {
        let engine = try open { $0.level0MergeTables = 2 }
        var log = TestLog()
        for number in 0..<100 { try log.put("key\(number)", "value") }
        try log.bringUp(engine)
        try engine.flush()
        for number in 0..<100 { try log.delete("key\(number)") }
        try log.bringUp(engine)
        try engine.flush()
        #expect(engine.statistics.tableCount == 0)
        try expectEqual(engine, log.model)
        #expect(engine.flushed.index == 200)
    }

    /// A tombstone outlives a merge while a table further down has the key.
    @Test func tombstonesStayWhileAnOlderVersionLiesBelow() throws {
        let engine = try open {
            $0.level0MergeTables = 2
            $0.level1Bytes = 1
            $0.levelRatio = 1 << 40
        }
        var log = TestLog()
        for number in 0..<50 {
            try log.put("key\(number)", "value")
            if number == 25 {
                try log.bringUp(engine)
                try engine.flush()
            }
        }
        try log.bringUp(engine)
        try engine.flush()
        #expect(engine.statistics.levels[2].tables == 1 && engine.statistics.tableCount == 1)
        for key in ["key7", "key8"] {
            try log.delete(key)
            try log.put("key9", key)
            try log.bringUp(engine)
            engine.requestFlush()
        }
        while engine.statistics.levels[1].tables == 0 { try #require(engine.takeBackgroundJob()).run() }
        try expectEqual(engine, log.model)
        try engine.runJobs()
        try expectEqual(engine, log.model)
        #expect(engine.statistics.levels[2].tables == 1 && engine.statistics.tableCount == 1)
    }

    @Test func aViewStaysAsItWas() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try open(fileSystem) { $0.level0MergeTables = 2 }
        var log = TestLog()
        try log.put("key", "old")
        try log.put("gone", "old")
        try log.bringUp(engine)
        try engine.flush()
        var view: EngineView? = engine.view()
        let items = try view!.items()
        try log.put("key", "new")
        try log.delete("gone")
        try log.bringUp(engine)
        #expect(try view!.items() == items)
        try engine.flush()
        #expect(engine.statistics.tableCount == 1)
        #expect(try view!.items() == items)
        #expect(try fileSystem.list("/db").filter { $0.hasSuffix(".sst") }.count == 2)
        view = nil
        try engine.runJobs()
        #expect(try fileSystem.list("/db").filter { $0.hasSuffix(".sst") }.count == 1)
    }

    @Test func aPageStepsOverABoundedNumberOfTombstones() throws {
        let engine = try open { $0.memtableMaxBytes = 32 << 20 }
        var log = TestLog()
        func key(_ number: Int) -> [UInt8] { [UInt8(number >> 16), UInt8(number >> 8 & 255), UInt8(number & 255)] }
        for start in stride(from: 0, to: 150_000, by: 1_000) {
            var batch = ByteBuffer()
            Command.writeHeader(operationCount: 1_000, into: &batch)
            for number in start..<start + 1_000 { Command.writeDelete(key: key(number), into: &batch) }
            try log.append(batch)
        }
        try log.append(Command.put(key: [9], value: [9]))
        try log.bringUp(engine)
        for _ in 0..<2 {
            let first = try engine.view().execute(.range(start: [], end: [], limit: 10, maxBytes: 1_000))
            #expect(first == .page(RangePage(items: [], next: key(100_000))))
            #expect(try engine.view().items().map(\.key) == [[9]])
            try engine.flush()
        }
    }

    /// A key with any number of versions costs a search, not a walk, and never stops a page from getting on.
    @Test func aHotKeyDoesNotHoldUpARange() throws {
        let engine = try open { $0.memtableMaxBytes = 64 << 20 }
        let payload = Command.put(key: [5], value: [1])
        let other = Command.put(key: [6], value: [2])
        let before = Entry.batch(from: 1, term: 1, kind: .command, payloads: [payload, other])
        _ = try engine.apply(before)
        let view = engine.view()
        _ = try engine.apply(
            Entry.batch(from: 3, term: 1, kind: .command, payloads: [ByteBuffer](repeating: payload, count: 250_000)))
        for view in [view, engine.view()] {
            let page = try view.execute(.range(start: [], end: [], limit: 10, maxBytes: 1_000))
            #expect(
                page == .page(RangePage(items: [.init(key: [5], value: [1]), .init(key: [6], value: [2])], next: nil)))
        }
    }

    @Test func pagesAreBoundedAndNameTheirSuccessor() throws {
        let engine = try open()
        var log = TestLog()
        for number in 0..<5 { try log.append(Command.put(key: [UInt8(number)], value: [1, 2, 3])) }
        try log.bringUp(engine)
        func page(_ start: [UInt8], _ end: [UInt8], _ limit: Int, _ maxBytes: Int) throws -> ([UInt8], [UInt8]?) {
            guard
                case .page(let page) = try engine.view().execute(
                    .range(start: start, end: end, limit: limit, maxBytes: maxBytes))
            else { preconditionFailure("a range is answered by a page") }
            return (page.items.map { $0.key[0] }, page.next)
        }
        #expect(try page([], [], 10, 1_000) == ([0, 1, 2, 3, 4], nil))
        #expect(try page([], [], 5, 1_000) == ([0, 1, 2, 3, 4], nil))
        #expect(try page([], [], 2, 1_000) == ([0, 1], [2]))
        #expect(try page([], [], 10, 8) == ([0, 1], [2]))
        #expect(try page([], [], 10, 0) == ([0], [1]))
        #expect(try page([1], [3], 10, 1_000) == ([1, 2], nil))
        #expect(try page([1], [3], 2, 1_000) == ([1, 2], nil))
        #expect(try page([3], [1], 10, 1_000) == ([], nil))
        #expect(try page([4, 0], [], 10, 1_000) == ([], nil))
    }

    @Test func theManifestStaysSmall() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try open(fileSystem) { $0.level0MergeTables = 2 }
        var log = TestLog()
        var names: Set<String> = []
        var largest = 0
        let long = String(repeating: "k", count: 4_000)
        for round in 0..<150 {
            try log.put("a" + long, "\(round)")
            try log.put("z" + long, "\(round)")
            try log.bringUp(engine)
            try engine.flush()
            let manifest = try #require(try fileSystem.list("/db").first { $0.hasPrefix("MANIFEST") })
            names.insert(manifest)
            largest = max(largest, fileSystem.contents(of: "/db/" + manifest)!.count)
        }
        #expect(names.count > 2)
        #expect(largest < 512 << 10)
        let reopened = try open(fileSystem)
        try expectEqual(reopened, log.model)
    }

    @Test func entriesWithoutOperationsMoveTheFlushedIndex() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try open(fileSystem)
        _ = try engine.apply([Entry(index: 1, term: 3, kind: .noOp)])
        try engine.flush()
        #expect(engine.flushed == FlushedPosition(index: 1, term: 3))
        #expect(engine.statistics.tableCount == 0)
        #expect(try open(fileSystem).flushed == FlushedPosition(index: 1, term: 3))
    }
}
