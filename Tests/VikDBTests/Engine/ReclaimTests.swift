import Glibc
import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What was deleted or overwritten gives the disk back, by itself where tombstones tell of it, and else where the disk
/// is short or an operator asks.
struct ReclaimTests {
    private static let keys = 300

    /// A small engine whose levels are nowhere near full: size alone makes nothing due.
    private static func options() -> EngineOptions {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.maxTableBytes = 32 << 10
        options.minReclaimedBytes = 4 << 10
        return options
    }

    private static func name(_ number: Int) -> String { "key-\(number + 1_000)" }

    /// Random letters: nothing that compresses to nothing.
    private static func value(_ random: inout SeededGenerator, bytes: Int = 1_000) -> String {
        String(decoding: (0..<bytes).map { _ in UInt8.random(in: 65...90, using: &random) }, as: UTF8.self)
    }

    /// Writes all keys, in flushes of some, which merges take to level 1.
    private static func fill(_ log: inout TestLog, _ engine: Engine, bytes: Int = 1_000, rounds: Int = 1) throws {
        var random = SeededGenerator(1)
        for _ in 0..<rounds {
            for number in 0..<keys {
                try log.put(name(number * 7 % keys), value(&random, bytes: bytes))
                try log.bringUp(engine)
                try engine.runJobs()
            }
        }
        try engine.flush()
    }

    private static func expectEmptied(_ engine: Engine, _ log: TestLog, from full: UInt64) throws {
        let levels = engine.statistics.levels
        #expect(engine.statistics.tableBytes <= full / 10, "\(levels)")
        try expectEqual(engine, log.model)
    }

    enum Way: CaseIterable {
        case oneByOne, inBatches, backwards, whileWriting
    }

    @Test(arguments: Way.allCases, BlockCompression.allCases)
    func whatIsDeletedGivesTheDiskBack(way: Way, compression: BlockCompression) throws {
        let fileSystem = MemoryFileSystem()
        var options = Self.options()
        options.compression = compression
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
        var log = TestLog()
        try Self.fill(&log, engine)
        let full = engine.statistics.tableBytes
        try #require(full > 150_000 && engine.statistics.levels[1].tables > 0)
        switch way {
        case .oneByOne: for number in 0..<Self.keys { try log.delete(Self.name(number)) }
        case .backwards: for number in (0..<Self.keys).reversed() { try log.delete(Self.name(number)) }
        case .inBatches: try log.deleteEverything()
        case .whileWriting:
            for number in 0..<Self.keys {
                try log.delete(Self.name(number))
                try log.put("other-\(number % 10)", "small")
            }
        }
        try log.bringUp(engine)
        try engine.runJobs()
        try Self.expectEmptied(engine, log, from: full)
        #expect(engine.statistics.work.mergesByCause[.tombstones] ?? 0 > 0)
        #expect(fileSystem.usedBytes < Int(full) / 5)
    }

    /// The log has the deletes, the tables have not: what is applied again after a start is counted again.
    @Test func aRestartBeforeTheFlushForgetsNothing() throws {
        let fileSystem = MemoryFileSystem()
        var options = Self.options()
        options.minReclaimedBytes = .max - 1
        var log = TestLog()
        var full: UInt64 = 0
        do {
            let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
            try Self.fill(&log, engine)
            full = engine.statistics.tableBytes
            try log.deleteEverything()
            try log.bringUp(engine)
            try engine.runJobs()
            #expect(engine.statistics.tableBytes == full, "nothing is worth it here")
            // Half of it was flushed.
            engine.requestFlush()
            try engine.runJobs()
        }
        fileSystem.killProcess()
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options())
        #expect(engine.statistics.levels[0].tombstones == UInt64(Self.keys), "the tables tell it")
        try log.bringUp(engine)
        try engine.runJobs()
        try Self.expectEmptied(engine, log, from: full)
    }

    /// Early flushes come no more often than whoever has a clock lets them, however much is deleted.
    @Test func whoeverHasAClockSaysHowOften() throws {
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: Self.options())
        var log = TestLog()
        try Self.fill(&log, engine)
        let work = engine.statistics.work
        try log.deleteEverything()
        try log.bringUp(engine)
        #expect(engine.takeBackgroundJob(reclaims: false) == nil)
        let job = try #require(engine.takeBackgroundJob())
        #expect(job.reclaims && !job.writesFiles)
        try job.run()
        while let job = engine.takeBackgroundJob(reclaims: false) { try job.run() }
        #expect(engine.statistics.work.flushes == work.flushes + 1)
    }

    /// To delete again what is not there hides nothing more.
    @Test func oneKeyDeletedOftenIsOneTombstone() throws {
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: Self.options())
        var log = TestLog()
        try Self.fill(&log, engine)
        let work = engine.statistics.work
        for _ in 0..<Self.keys { try log.delete("absent") }
        try log.bringUp(engine)
        try engine.runJobs()
        #expect(engine.statistics.work.flushes == work.flushes && engine.statistics.work.merges == work.merges)
    }

    /// However often a merge is asked for, flushes and the merge itself have their turn, and it has everything that was
    /// applied when it was asked for last.
    @Test func askedForAgainAndAgain() throws {
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: Self.options())
        var log = TestLog()
        try Self.fill(&log, engine)
        try Self.fill(&log, engine)
        for number in 0..<Self.keys {
            try log.put(Self.name(number), String(number))
            try log.bringUp(engine)
            // A sealed memtable waits at the first one.
            if number == 0 { engine.requestFlush() }
            engine.requestMerge()
            try #require(engine.takeBackgroundJob()).run()
        }
        #expect(engine.statistics.work.merges > 0 && engine.statistics.work.mergesByCause[.request] ?? 0 > 0)
        try log.put("last", "one")
        try log.put(Self.name(0), "last")
        try log.bringUp(engine)
        engine.requestFlush()
        engine.requestMerge()
        try engine.runJobs()
        let rest = engine.statistics
        #expect(rest.flushed.index == log.entries.last?.index && rest.memtableBytes < 1_000)
        #expect(rest.levels.reduce(0) { $0 + $1.entries } == UInt64(Self.keys) + 1, "\(rest.levels)")
        #expect(!engine.statistics.isSweeping)
    }

    /// Tables of a snapshot lie on the last level, under six empty ones.
    @Test func alsoFromUnderEmptyLevels() throws {
        let source = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: Self.options())
        var log = TestLog()
        try Self.fill(&log, source)
        let reader = source.snapshotReader()
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: Self.options())
        let writer = engine.snapshotWriter(for: reader.index)
        for chunk in try reader.chunks(targetBytes: 10_000) { try writer.append(chunk) }
        try engine.install(writer, at: FlushedPosition(index: reader.index, term: log.entries.last!.term))
        let full = engine.statistics.tableBytes
        try #require(engine.statistics.levels[6].bytes == full && full > 0)
        try log.deleteEverything()
        try log.bringUp(engine)
        try engine.runJobs()
        try Self.expectEmptied(engine, log, from: full)
    }

    /// Keys in order go down as whole tables, which no merge has looked into.
    @Test func alsoTablesThatOnlyMoved() throws {
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: Self.options())
        var log = TestLog()
        var random = SeededGenerator(2)
        for number in 0..<Self.keys {
            try log.put(Self.name(number), Self.value(&random))
            if number % 40 == 39 {
                try log.bringUp(engine)
                try engine.flush()
            }
        }
        try log.bringUp(engine)
        try engine.flush()
        try #require(engine.statistics.work.moves > 0)
        let full = engine.statistics.tableBytes
        try log.deleteEverything()
        try log.bringUp(engine)
        try engine.runJobs()
        try Self.expectEmptied(engine, log, from: full)
    }

    /// What a view or a snapshot on its way still reads stays, and goes when they are done.
    @Test func viewsHoldWhatTheyRead() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options())
        var log = TestLog()
        try Self.fill(&log, engine)
        let before = log.model
        let full = Int(engine.statistics.tableBytes)
        var view: EngineView? = engine.view()
        var reader: SnapshotReader? = engine.snapshotReader()
        let first = try reader?.chunks(targetBytes: 1_000).first
        #expect(first != nil)
        try log.deleteEverything()
        try log.bringUp(engine)
        try engine.runJobs()
        #expect(engine.statistics.tableBytes < UInt64(full / 10) && fileSystem.usedBytes > full)
        let items = try view?.items()
        #expect(items == before.items(from: [], to: []))
        view = nil
        reader = nil
        try engine.runJobs()
        #expect(fileSystem.usedBytes < full / 5)
    }

    /// New values hide the old ones, which no tombstone tells: a sweep finds out.
    @Test(arguments: [true, false]) func whatIsOverwrittenGivesTheDiskBack(isAskedFor: Bool) throws {
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: Self.options())
        var log = TestLog()
        try Self.fill(&log, engine)
        engine.requestMerge()
        try engine.runJobs()
        let full = engine.statistics.tableBytes
        try Self.fill(&log, engine, bytes: 10)
        try #require(engine.statistics.tableBytes >= full)
        isAskedFor ? engine.requestMerge() : engine.requestSpace()
        #expect(engine.statistics.isSweeping)
        try engine.runJobs()
        #expect(engine.statistics.tableBytes < full / 10 && !engine.statistics.isSweeping)
        let merges = engine.statistics.work.mergesByCause
        #expect(merges[isAskedFor ? .request : .space] ?? 0 > (isAskedFor ? 1 : 0))
        try expectEqual(engine, log.model)
        // There is nothing left to do, however often it is asked for.
        isAskedFor ? engine.requestMerge() : engine.requestSpace()
        try engine.runJobs()
        #expect(engine.statistics.work.mergesByCause == merges)
    }

    @Test func overwritingAgainAndAgainStaysBounded() throws {
        let engine = try Engine.open(directory: "/db", fileSystem: MemoryFileSystem(), options: Self.options())
        var log = TestLog()
        try Self.fill(&log, engine)
        let once = engine.statistics.tableBytes
        try Self.fill(&log, engine, rounds: 10)
        #expect(engine.statistics.tableBytes < 3 * once)
    }

    // MARK: A short disk

    /// Everything is deleted on a disk with next to no room: the merge's output needs none.
    @Test func whereAlmostNoRoomIsLeft() throws {
        let fileSystem = MemoryFileSystem()
        var options = Self.options()
        options.reservedBytes = 4_000
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
        var log = TestLog()
        try Self.fill(&log, engine)
        let full = engine.statistics.tableBytes
        fileSystem.capacity = fileSystem.usedBytes + 24_000
        try log.deleteEverything()
        try log.bringUp(engine)
        try engine.runJobs()
        try Self.expectEmptied(engine, log, from: full)
    }

    /// A merge that is due and does not fit is not begun, and none goes on into the reserve.
    @Test func theReserveIsLeftAlone() throws {
        let fileSystem = MemoryFileSystem()
        var options = Self.options()
        options.reservedBytes = 10_000
        options.level0MergeTables = 2
        options.mergeSliceBytes = 1_000
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
        var log = TestLog()
        var random = SeededGenerator(3)
        func flushTable() throws {
            for number in 0..<40 { try log.put(Self.name(number), Self.value(&random)) }
            try log.bringUp(engine)
            engine.requestFlush()
            try #require(engine.takeBackgroundJob()).run()
        }
        try flushTable()
        try flushTable()
        // Both tables have the same keys: a merge may take half of what it reads, and is tried.
        let table = Int(engine.statistics.tableBytes) / 2
        for (room, isMerged) in [(table / 2, false), (table + 5_000, false), (table + 20_000, true)] {
            fileSystem.capacity = fileSystem.usedBytes + room
            let used = fileSystem.usedBytes
            var isPostponed = false
            while !isPostponed, let job = engine.takeBackgroundJob() {
                isPostponed = try !job.runIfThereIsRoom()
                let free = fileSystem.capacity - fileSystem.usedBytes
                #expect(free >= min(room, 10_000) - 2_000, "\(free) of \(room) bytes are left")
            }
            #expect(isPostponed != isMerged, "room for \(room) bytes")
            #expect(isMerged || fileSystem.usedBytes == used)
        }
        try expectEqual(engine, log.model)
    }

    /// A flush that finds no room lets a merge make some.
    @Test func aFlushWithoutRoomLetsAMergeMakeSome() throws {
        let fileSystem = MemoryFileSystem()
        var options = Self.options()
        options.minReclaimedBytes = .max - 1
        var log = TestLog()
        do {
            let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
            try Self.fill(&log, engine)
            try log.deleteEverything()
            try log.bringUp(engine)
            try engine.flush()
        }
        fileSystem.killProcess()
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options())
        var random = SeededGenerator(4)
        for number in 0..<40 { try log.put("new-\(number)", Self.value(&random)) }
        try log.bringUp(engine)
        engine.requestFlush()
        fileSystem.capacity = fileSystem.usedBytes + 20_000
        #expect(throws: StorageError.full(path: "/db")) { try engine.takeBackgroundJob()?.run() }
        try engine.runJobs()
        #expect(engine.flushed.index == log.entries.last?.index)
        try expectEqual(engine, log.model)
    }

    // MARK: The choice

    private let picker = CompactionPicker(
        level0Tables: 4, level1Bytes: 10_000, levelRatio: 10, tableBytes: 200, minReclaimedBytes: 100)

    private func table(
        _ number: UInt64, _ range: ClosedRange<UInt8>, bytes: UInt64 = 200, entries: UInt64 = 10,
        tombstones: UInt64 = 0
    ) -> TableMetadata {
        func key(_ byte: UInt8) -> [UInt8] { [1, byte] + [UInt8](repeating: 0, count: InternalKey.trailerBytes) }
        return TableMetadata(
            number: number, fileBytes: bytes, entries: entries, tombstones: tombstones,
            tombstoneBytes: bytes * min(tombstones, entries) / entries, smallest: key(range.lowerBound),
            largest: key(range.upperBound))
    }

    private func levels(_ tables: [TableMetadata]...) -> [[TableMetadata]] {
        tables + [[TableMetadata]](repeating: [], count: 7 - tables.count)
    }

    @Test func tombstonesAreDueFromAQuarterOn() {
        let below = [table(10, 0...9), table(11, 10...19), table(12, 20...29), table(13, 30...39)]
        // Each of them hides 20 bytes and takes two, of 820 in all.
        func pick(_ tombstones: UInt64) -> CompactionPlan? {
            picker.pick(levels([], [table(1, 0...39, bytes: 20, tombstones: tombstones)], below))
        }
        #expect(pick(0) == nil && pick(9) == nil && pick(10) != nil)
        let large = [table(1, 0...39, bytes: 20, entries: 20, tombstones: 11)]
        let plan = CompactionPlan(level: 1, upper: [1], lower: [10, 11, 12, 13], cause: .tombstones)
        #expect(picker.pick(levels([], large, below)) == plan)
        #expect(picker.pick(levels([], [], large, below)) != nil)
    }

    @Test func whatIsNotWorthItStays() {
        let upper = table(1, 0...9, bytes: 20, tombstones: 4)
        #expect(picker.pick(levels([], [upper], [table(10, 0...9)])) == nil, "80 bytes")
        // Nothing lies below, but there are few of them.
        #expect(picker.pick(levels([], [table(1, 0...9, bytes: 4_000, entries: 100, tombstones: 20)])) == nil)
    }

    @Test func theLastLevelIsWrittenAnew() {
        var levels = levels()
        levels[6] = [table(1, 0...9, bytes: 400, entries: 20, tombstones: 10), table(2, 10...19)]
        #expect(
            picker.pick(levels)
                == CompactionPlan(level: 6, outputLevel: 6, upper: [1], lower: [], cause: .tombstones))
    }

    @Test func sizeComesFirst() {
        let level0 = (1...4).map { table($0, 0...9) }
        let level1 = [table(10, 20...29, tombstones: 10)]
        let plan = picker.pick(levels(level0, level1, [table(20, 20...29)]))
        #expect(plan?.cause == .size && plan?.level == 0)
        #expect(picker.candidates(levels(level0, level1, [table(20, 20...29)])).map(\.cause) == [.size, .tombstones])
    }
}
