import Synchronization
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Which tables are open: within the caps, and right whatever they are.
@Suite struct TableCacheTests {
    private let files = OpenFileCount()

    /// An engine with `tables` tables on level 0, which no merge touches: key-0, key-1 and so on, one in each.
    ///
    /// - Parameter areDisjoint: a get asks one table alone; else each of them has a second key, the last of all.
    private func engine(
        tables: Int, maxTables: Int, maxBytes: Int = 1 << 20, areDisjoint: Bool = false
    ) throws -> Engine {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.level0MergeTables = tables + 1
        options.level0SlowdownTables = 2 * tables + 2
        options.level0StallTables = 2 * tables + 2
        options.maxOpenTables = maxTables
        options.maxOpenTableBytes = maxBytes
        // No block is cached: each read asks the file.
        options.blockCacheBytes = 0
        let engine = try Engine.open(directory: "/tables", fileSystem: files, options: options)
        var log = TestLog()
        for number in 0..<tables {
            try log.put("key-\(number)", "value-\(number)")
            if !areDisjoint { try log.put("shared", "\(number)") }
            try log.bringUp(engine)
            try engine.flush()
        }
        #expect(engine.statistics.tableCount == tables)
        return engine
    }

    @Test func noMoreTablesAreOpenThanTheCap() throws {
        let engine = try engine(tables: 12, maxTables: 3)
        let others = files.open - engine.statistics.openTables.tables
        for number in Array(0..<12) + [5, 0, 11, 5] {
            #expect(try engine.get("key-\(number)") == "value-\(number)")
            #expect(try engine.get("shared") == "11")
            #expect(engine.statistics.openTables.tables <= 3)
            #expect(files.open - others <= 3)
        }
        #expect(engine.statistics.openTables.tables == 3)
    }

    @Test func bytesAreCappedAndOneTableIsAlwaysOpen() throws {
        let engine = try engine(tables: 6, maxTables: 100, maxBytes: 0)
        for number in 0..<6 { #expect(try engine.get("key-\(number)") == "value-\(number)") }
        #expect(engine.statistics.openTables.tables == 1)
        let one = engine.statistics.openTables.bytes
        #expect(one > 0)

        let roomy = try self.engine(reopened: 2 * one + one / 2)
        for number in 0..<6 { #expect(try roomy.get("key-\(number)") == "value-\(number)") }
        #expect(roomy.statistics.openTables.tables == 2)
        #expect(roomy.statistics.openTables.bytes <= 2 * one + one / 2)
    }

    private func engine(reopened maxBytes: Int) throws -> Engine {
        var options = EngineOptions()
        options.level0MergeTables = 100
        options.level0SlowdownTables = 100
        options.level0StallTables = 100
        options.maxOpenTableBytes = maxBytes
        return try Engine.open(directory: "/tables", fileSystem: files, options: options)
    }

    @Test func whatIsUsedStaysOpen() throws {
        let engine = try engine(tables: 12, maxTables: 4, areDisjoint: true)
        for _ in 0..<2 { _ = try engine.get("key-3") }
        for number in 4..<12 {
            let before = files.opened
            _ = try engine.get("key-\(number)")
            #expect(files.opened == before + 1)
            // The hand passes by what was read since it came last.
            #expect(try engine.get("key-3") == "value-3")
            #expect(files.opened == before + 1, "the table of key-3 was pushed out by that of key-\(number)")
        }
    }

    @Test func whatIsNoLongerUsedMakesWay() throws {
        let engine = try engine(tables: 8, maxTables: 4, areDisjoint: true)
        for number in [0, 1, 2, 3, 0, 1, 2, 3] { _ = try engine.get("key-\(number)") }
        let before = files.opened
        for number in [4, 5, 6, 4, 5, 6, 4, 5, 6] { #expect(try engine.get("key-\(number)") == "value-\(number)") }
        #expect(files.opened == before + 3, "tables that are read in turn push each other out")
    }

    @Test func aCursorKeepsItsTablesOpen() throws {
        let engine = try engine(tables: 8, maxTables: 1)
        var cursor = engine.view().cursor()
        try cursor.seek(.user, UnsafeRawBufferPointer(start: nil, count: 0))
        for number in 0..<8 {
            #expect(cursor.userKey.elementsEqual("key-\(number)".utf8))
            try cursor.next()
            // Others take the only place meanwhile.
            #expect(try engine.get("key-\(7 - number)") == "value-\(7 - number)")
        }
        #expect(cursor.userKey.elementsEqual("shared".utf8))
        #expect(engine.statistics.openTables.tables == 1)
    }

    @Test func aMergedTableIsClosed() throws {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.level0MergeTables = 4
        let engine = try Engine.open(directory: "/merged", fileSystem: files, options: options)
        let before = files.open
        var log = TestLog()
        for round in 0..<12 {
            try log.put("key", "\(round)")
            try log.bringUp(engine)
            try engine.flush()
            #expect(try engine.get("key") == "\(round)")
        }
        #expect(engine.statistics.tableCount < 4)
        #expect(engine.statistics.openTables.tables <= engine.statistics.tableCount)
        #expect(files.open - before == engine.statistics.openTables.tables)
    }

    @Test func manyThreadsReadWhileTablesComeAndGo() async throws {
        let engine = try engine(tables: 12, maxTables: 2)
        await withTaskGroup(of: Void.self) { group in
            for thread in 0..<4 {
                group.addTask {
                    var random = SeededGenerator(UInt64(thread))
                    for _ in 0..<2_000 {
                        let number = Int.random(in: 0..<12, using: &random)
                        #expect((try? engine.get("key-\(number)")) == "value-\(number)")
                    }
                }
            }
        }
        #expect(engine.statistics.openTables.tables <= 2)
    }
}

/// A disk that knows how many of its files are open. Any thread.
private final class OpenFileCount: FileSystem {
    private let disk = MemoryFileSystem()
    private let counter = Counter()

    fileprivate final class Counter: Sendable {
        let open = Atomic<Int>(0)
        let opened = Atomic<Int>(0)
    }

    private final class Counted: File {
        private let file: any File
        private let counter: Counter

        init(_ file: any File, _ counter: Counter) {
            self.file = file
            self.counter = counter
            counter.open.add(1, ordering: .relaxed)
            counter.opened.add(1, ordering: .relaxed)
        }

        deinit { counter.open.subtract(1, ordering: .relaxed) }

        var path: String { file.path }
        func size() throws(StorageError) -> UInt64 { try file.size() }
        func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int {
            try file.read(at: offset, into: buffer)
        }
        func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
            try file.write(bytes, at: offset)
        }
        func allocate(_ size: UInt64) throws(StorageError) { try file.allocate(size) }
        func truncate(to size: UInt64) throws(StorageError) { try file.truncate(to: size) }
        func beginWriteback(at offset: UInt64, count: Int) { file.beginWriteback(at: offset, count: count) }
        func forgetCopies() { file.forgetCopies() }
        func sync() throws(StorageError) { try file.sync() }
    }

    /// Files that are open now, and how often one was opened.
    var open: Int { counter.open.load(ordering: .relaxed) }
    var opened: Int { counter.opened.load(ordering: .relaxed) }

    func open(_ path: String, _ mode: OpenMode) throws(StorageError) -> any File {
        Counted(try disk.open(path, mode), counter)
    }

    func createDirectory(_ path: String) throws(StorageError) { try disk.createDirectory(path) }
    func list(_ directory: String) throws(StorageError) -> [String] { try disk.list(directory) }
    func rename(_ source: String, to target: String) throws(StorageError) { try disk.rename(source, to: target) }
    func remove(_ path: String) throws(StorageError) { try disk.remove(path) }
    func exists(_ path: String) -> Bool { disk.exists(path) }
    func syncDirectory(_ directory: String) throws(StorageError) { try disk.syncDirectory(directory) }
    func availableBytes(_ directory: String) throws(StorageError) -> UInt64 { try disk.availableBytes(directory) }
    func lock(_ path: String, create: Bool) throws(StorageError) -> any FileLock {
        try disk.lock(path, create: create)
    }
}
