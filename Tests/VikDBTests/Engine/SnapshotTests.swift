import NIOCore
import Synchronization
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What snapshots promise, one promise a test.
struct SnapshotTests {
    private static func open(
        _ fileSystem: MemoryFileSystem = MemoryFileSystem(), _ change: (inout EngineOptions) -> Void = { _ in }
    ) throws -> Engine {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        change(&options)
        return try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
    }

    private static func tables(_ fileSystem: MemoryFileSystem) throws -> [String] {
        try fileSystem.list("/db").filter { $0.hasSuffix(".sst") }
    }

    /// An engine with a state of its own, partly in tables.
    private static func used(_ fileSystem: MemoryFileSystem) throws -> (engine: Engine, log: TestLog) {
        let engine = try open(fileSystem)
        var log = TestLog()
        for number in 0..<4 { try log.put("old\(number)", "old") }
        try log.bringUp(engine)
        try engine.flush()
        try log.put("both", "old")
        try log.bringUp(engine)
        return (engine, log)
    }

    @Test func recordsAreLaidOutAsDocumented() throws {
        let engine = try Self.open()
        var batch = ByteBuffer()
        Command.writeHeader(operationCount: 2, into: &batch)
        Command.writePut(key: [7], value: [1], into: &batch)
        Command.writePut(key: [7], value: [2, 3], into: &batch)
        _ = try engine.apply([
            Entry(index: 1, term: 1, kind: .configuration, payload: ByteBuffer(string: "c")),
            Entry(index: 2, term: 1, kind: .command, payload: batch),
            Entry(index: 3, term: 1, kind: .command, payload: Command.put(key: [8], value: [])),
            Entry(index: 4, term: 1, kind: .command, payload: Command.delete(key: [8])),
        ])
        let reader = engine.snapshotReader()
        let chunk = try #require(try reader.next(targetBytes: 1_000))
        var expected = ByteBuffer()
        expected.writeMultipleIntegers(UInt16(27), UInt32(1), UInt8(0))
        expected.writeString("configuration")
        expected.writeMultipleIntegers(UInt64(1), UInt32(0), UInt8(1))
        expected.writeString("c")
        expected.writeMultipleIntegers(UInt16(15), UInt32(2), UInt8(1), UInt8(7), UInt64(2), UInt32(1), UInt8(1))
        expected.writeBytes([2, 3])
        #expect(chunk == expected)
        #expect(try reader.next(targetBytes: 1_000) == nil)
        #expect(reader.records == 2)
        #expect(reader.index == 4)
    }

    @Test func anEmptyStateIsASnapshotToo() throws {
        let source = try Self.open()
        _ = try source.apply([
            Entry(index: 1, term: 4, kind: .command, payload: Command.put(key: [1], value: [1])),
            Entry(index: 2, term: 4, kind: .command, payload: Command.delete(key: [1])),
        ])
        #expect(try source.snapshotReader().next(targetBytes: 1) == nil)
        let fileSystem = MemoryFileSystem()
        let (target, _) = try Self.used(fileSystem)
        let position = FlushedPosition(index: 9, term: 4)
        try target.install(target.snapshotWriter(for: 9), at: position)
        try expectEqual(target, Model())
        try target.runJobs()
        #expect(try Self.tables(fileSystem).isEmpty)
        let reopened = try Self.open(fileSystem)
        try expectEqual(reopened, Model())
        #expect(reopened.flushed == position && reopened.installedIndex == 9)
    }

    /// Deleted keys must not come back: neither from tables, nor from memtables, nor from a sealed one that waits for
    /// its flush, nor after a restart.
    @Test func aSnapshotReplacesEverything() throws {
        let fileSystem = MemoryFileSystem()
        let (target, log) = try Self.used(fileSystem)
        target.requestFlush()
        _ = try target.apply([Entry(index: 6, term: 1, kind: .command, payload: Command.put(key: [9], value: [9]))])
        #expect(target.statistics.sealedMemtables == 1 && target.installedIndex == 0)
        let view = target.view()
        let oldItems = try view.items()
        #expect(oldItems.count == log.model.values.count + 1)

        let writer = target.snapshotWriter(for: 20)
        try writer.append(
            TestRecord.chunk(
                TestRecord(space: 0, key: Array("configuration".utf8), index: 1, value: [5]),
                TestRecord(key: Array("both".utf8), index: 20, value: [6])))
        #expect(try target.view().items() == oldItems)
        let position = FlushedPosition(index: 20, term: 3)
        try target.install(writer, at: position)

        for engine in [target, try Self.open(fileSystem)] {
            #expect(try engine.view().items() == [RangePage.Item(key: Array("both".utf8), value: [6])])
            #expect(try engine.get("old1") == nil)
            #expect(try engine.storedConfiguration() == StoredValue(bytes: [5], version: 1))
            #expect(engine.flushed == position && engine.appliedIndex == 20 && engine.installedIndex == 20)
            #expect(engine.statistics.sealedMemtables == 0 && engine.statistics.levels[6].tables == 1)
        }
        #expect(try view.items() == oldItems)
    }

    @Test func theInstalledIndexStaysBehindTheNextFlush() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try Self.open(fileSystem)
        let writer = engine.snapshotWriter(for: 20)
        try writer.append(TestRecord.chunk(TestRecord(key: [1], index: 20, value: [6])))
        try engine.install(writer, at: FlushedPosition(index: 20, term: 3))
        _ = try engine.apply([Entry(index: 21, term: 3, kind: .command, payload: Command.delete(key: [1]))])
        try engine.flush()
        for engine in [engine, try Self.open(fileSystem), try Self.open(fileSystem)] {
            #expect(engine.flushed.index == 21 && engine.installedIndex == 20)
            #expect(try engine.view().items().isEmpty)
        }
    }

    @Test func aSnapshotIsCutIntoTables() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try Self.open(fileSystem) { $0.maxTableBytes = 10_000 }
        let writer = engine.snapshotWriter(for: 5)
        for number in 0..<100 as Range<UInt8> {
            try writer.append(
                TestRecord.chunk(TestRecord(key: [number], index: 5, value: [UInt8](repeating: 1, count: 1_000))))
        }
        try engine.install(writer, at: FlushedPosition(index: 5, term: 1))
        let level = engine.statistics.levels[6]
        #expect((8...11).contains(level.tables))
        #expect(level.bytes / UInt64(level.tables) < 16_000)
        #expect(try engine.view().items().count == 100)
    }

    /// Whether given up, forgotten, or refused: nothing is left of it.
    @Test func whatIsNotInstalledIsRemoved() throws {
        let fileSystem = MemoryFileSystem()
        let (engine, log) = try Self.used(fileSystem)
        let files = try fileSystem.list("/db")
        let chunk = TestRecord.chunk(TestRecord(key: [1], index: 5, value: [6]))
        let abandoned = engine.snapshotWriter(for: 9)
        try abandoned.append(chunk)
        #expect(try fileSystem.list("/db").count == files.count + 1)
        abandoned.abandon()
        #expect(try fileSystem.list("/db") == files)
        do {
            let forgotten = engine.snapshotWriter(for: 9)
            try forgotten.append(chunk)
            #expect(try fileSystem.list("/db").count == files.count + 1)
        }
        #expect(try fileSystem.list("/db") == files)
        let refused = engine.snapshotWriter(for: 9)
        try refused.append(chunk)
        let refusal = #expect(throws: SnapshotError.self) { try refused.append(chunk) }
        let error = try #require(refusal)
        #expect(try fileSystem.list("/db") == files)
        #expect(throws: error) { try refused.append(TestRecord.chunk(TestRecord(key: [2], index: 5, value: []))) }
        try expectEqual(engine, log.model)
    }

    @Test func malformedRecordsAreRefused() throws {
        let fileSystem = MemoryFileSystem()
        let (engine, log) = try Self.used(fileSystem)
        let files = try fileSystem.list("/db")
        let good = TestRecord(key: [5], index: 3, value: [1])
        func record(_ change: (inout TestRecord) -> Void) -> TestRecord {
            var record = good
            record.key = [6]
            change(&record)
            return record
        }
        let bad = [
            record { $0.key = [] },
            record { $0.key = [UInt8](repeating: 6, count: 4_097) },
            record { $0.value = [UInt8](repeating: 6, count: 1 << 20 + 1) },
            record { $0.space = 2 },
            record { $0.space = 255 },
            record { $0.space = 0 },
            record { $0.kind = 2 },
            record { $0.kind = 0 },
            record { $0.index = 0 },
            record { $0.index = 10 },
            record { $0.index = .max },
            record { $0.key = [4] },
            record { $0.key = [5] },
            record {
                $0.key = [5]
                $0.index = 2
            },
        ]
        for (number, record) in bad.enumerated() {
            for isApart in [false, true] {
                let writer = engine.snapshotWriter(for: 9)
                let error = #expect(throws: SnapshotError.self, "record \(number)") {
                    if isApart {
                        try writer.append(TestRecord.chunk(good))
                        try writer.append(TestRecord.chunk(record))
                    } else {
                        try writer.append(TestRecord.chunk(good, record))
                    }
                }
                guard case .malformed(let reason) = error else {
                    Issue.record("record \(number): \(String(describing: error))")
                    return
                }
                #expect(reason.hasPrefix("record 2: "))
                #expect(try fileSystem.list("/db") == files)
            }
        }
        try expectEqual(engine, log.model)
        let writer = engine.snapshotWriter(for: 9)
        try writer.append(TestRecord.chunk(good, record { $0.index = 9 }))
        try engine.install(writer, at: FlushedPosition(index: 9, term: 1))
        #expect(try engine.view().items().map(\.key) == [[5], [6]])
    }

    /// Every cut and every flipped byte of a small chunk: taken if it happens to be a snapshot still, else refused.
    @Test func damagedChunksAreRefusedOrStillSnapshots() throws {
        let fileSystem = MemoryFileSystem()
        let (engine, log) = try Self.used(fileSystem)
        let files = try fileSystem.list("/db")
        let chunk = TestRecord.chunk(
            TestRecord(space: 0, key: Array("configuration".utf8), index: 3, value: [1, 2, 3]),
            TestRecord(key: [4, 5], index: 7, ordinal: 2, value: [4, 5]), TestRecord(key: [4, 6], index: 7, value: []),
            TestRecord(key: [5], index: 9, value: [6]))
        var damaged = (0..<chunk.readableBytes).map { chunk.getSlice(at: 0, length: $0)! }
        for offset in 0..<chunk.readableBytes {
            for mask in [0x01, 0x80, 0xff] as [UInt8] {
                var copy = chunk
                copy.setInteger(copy.getInteger(at: offset, as: UInt8.self)! ^ mask, at: offset)
                damaged.append(copy)
            }
        }
        var refused = 0
        for damaged in damaged {
            let records = TestRecord.decode(damaged)
            let isSnapshot = records.map { TestRecord.isSnapshot($0, of: 9) } ?? false
            let writer = engine.snapshotWriter(for: 9)
            do throws(SnapshotError) {
                try writer.append(damaged)
                #expect(isSnapshot && writer.records == UInt64(records!.count))
                writer.abandon()
            } catch {
                guard case .malformed = error else { throw error }
                #expect(!isSnapshot)
                refused += 1
            }
            try #require(try fileSystem.list("/db") == files)
        }
        print("snapshot test: \(refused) of \(damaged.count) damaged chunks refused")
        #expect(refused > damaged.count / 2)
        try expectEqual(engine, log.model)
    }

    private final class Counter: Sendable {
        let count = Atomic<Int>(0)
    }

    /// A reader, a writer and the lanes of an engine, each on a thread of its own.
    @Test func snapshotsAreReadAndTakenBesideEverythingElse() throws {
        let engine = try Self.open { $0.level0MergeTables = 2 }
        let other = try Self.open()
        var log = TestLog()
        var random = SeededGenerator(3)
        try log.appendRandom(400, &random)
        _ = try engine.apply(Array(log.entries[..<200]))
        let hash = try engine.view().stateHash()
        let reader = engine.snapshotReader()
        let writers = [engine.snapshotWriter(for: 200), other.snapshotWriter(for: 200)]
        let faults = Counter()
        let entries = log.entries
        let executor = ThreadExecutor()
        @Sendable func attempt(_ body: () throws -> Void) {
            do { try body() } catch { faults.count.add(1, ordering: .relaxed) }
        }
        executor.submit(.apply) {
            attempt {
                for entry in entries[200...] {
                    _ = try engine.apply([entry])
                    if entry.index % 10 == 0 { engine.requestFlush() }
                }
            }
        }
        executor.submit(.background) {
            attempt { while engine.appliedIndex < 400 { try engine.runJobs() } }
        }
        executor.submit(.read) {
            attempt {
                while let chunk = try reader.next(targetBytes: 500) {
                    for writer in writers { try writer.append(chunk) }
                }
            }
        }
        executor.shutdown()
        #expect(faults.count.load(ordering: .relaxed) == 0)
        try engine.runJobs()
        try expectEqual(engine, log.model)
        try other.install(writers[1], at: FlushedPosition(index: 200, term: 21))
        #expect(try other.view().stateHash() == hash)
        writers[0].abandon()
        try log.bringUp(other)
        #expect(try other.view().stateHash() == engine.view().stateHash())
    }
}
