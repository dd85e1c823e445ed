import Glibc
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What a node does whose disk is full or fails.
@Suite struct DiskTroubleTests {
    private static let segmentBytes = 4_096

    // MARK: A disk that fails

    /// An acknowledged write is on disk; one that the disk has refused to sync is not, and no second sync makes it so.
    @Test func aFailedSyncStopsTheNode() throws {
        let fileSystem = MemoryFileSystem()
        let node = try ShellHarness(fileSystem: fileSystem)
        let write = node.put([1])
        // One call writes the group, the next one syncs it.
        fileSystem.failCall(after: 1, code: EIO)
        node.run(.log, .apply)
        guard case .io(operation: "sync", path: _, code: EIO)? = node.failure else {
            Issue.record("the node did not stop: \(String(describing: node.failure))")
            return
        }
        guard case .unknown(.stopping)? = node.outcome(of: write) else {
            Issue.record("the write ended as \(String(describing: node.outcome(of: write)))")
            return
        }
        #expect(node.status.failure?.contains("sync") == true)
        // Nothing is written, synced or read again, whatever comes.
        let calls = fileSystem.callCount
        let (later, read) = (node.put([2]), node.get())
        node.tick(300, running: Lane.allCases)
        node.handle(.stop)
        node.tick(10, running: Lane.allCases)
        #expect(fileSystem.callCount == calls)
        guard case .failed? = node.refusal(of: later), case .notAnswered(.failed)? = node.outcome(of: read) else {
            Issue.record(
                "\(String(describing: node.outcome(of: later))), \(String(describing: node.outcome(of: read)))")
            return
        }
    }

    @Test func aFollowerWhoseSyncFailsAcknowledgesNothing() throws {
        let fileSystem = MemoryFileSystem()
        let node = try ShellHarness(members: 3, fileSystem: fileSystem)
        node.step(node.firstAppend, from: 2)
        node.run(.log)
        #expect(node.peers.take(to: 2).contains(.matched(1, term: 1)))
        node.step(.append(term: 1, after: (1, 1), [1], commit: 1), from: 2)
        fileSystem.failCall(after: 1, code: EIO)
        node.run(.log)
        #expect(node.failure != nil)
        node.step(.append(term: 1, after: (2, 1), [1], commit: 1), from: 2)
        node.step(.voteRequest(9, last: (9, 9)), from: 3)
        node.tick(300)
        #expect(node.peers.take(to: 2).isEmpty && node.peers.take(to: 3).isEmpty)
    }

    @Test func aVoteThatCannotBeSavedIsNotGiven() throws {
        let fileSystem = MemoryFileSystem()
        let node = try ShellHarness(members: 3, fileSystem: fileSystem)
        node.step(.voteRequest(1, last: (0, 0)), from: 2)
        fileSystem.failCall(after: 0, code: EIO)
        node.run(.log)
        #expect(node.failure != nil)
        node.tick(10)
        #expect(node.peers.take(to: 2).isEmpty)
    }

    // MARK: A full log

    /// A node alone, whose disk has no room for the next segment.
    private static func fullNode(_ fileSystem: MemoryFileSystem) throws -> (node: ShellHarness, waiting: UInt64) {
        var options = ShellHarness.impatient
        options.minFreeBytes = UInt64(2 * segmentBytes)
        options.requestWaitTicks = 1_000
        let node = try ShellHarness(
            options: options, logOptions: LogOptions(segmentBytes: segmentBytes), fileSystem: fileSystem)
        fileSystem.capacity = fileSystem.usedBytes
        while true {
            let write = node.put([UInt8](repeating: 7, count: 1_000))
            node.run(.log, .apply)
            if node.core.isLogFull { return (node, write) }
            try #require(node.isWritten(write) && node.core.lastIndex < 10)
        }
    }

    @Test func writesAreRefusedWhileTheLogIsFull() throws {
        let fileSystem = MemoryFileSystem()
        let (node, waiting) = try Self.fullNode(fileSystem)
        #expect(node.outcome(of: waiting) == nil && node.failure == nil)
        let (put, delete, read) = (node.put([1]), node.delete("key"), node.get())
        node.tick(5)
        #expect(node.refusal(of: put) == .diskFull)
        #expect(node.refusal(of: delete) == .diskFull, "there is no place for it in the log")
        guard case .answered? = node.outcome(of: read) else {
            Issue.record("a read at a full node ended as \(String(describing: node.outcome(of: read)))")
            return
        }
        #expect(node.status.isDiskFull && node.core.isLeader)
        // Nobody's disk has more, so that there is nobody to hand over to; nothing is acknowledged meanwhile.
        node.tick(200)
        #expect(node.outcome(of: waiting) == nil && node.core.isLogFull)
    }

    @Test func theNodeGoesOnByItselfOnceThereIsRoom() throws {
        let fileSystem = MemoryFileSystem()
        let (node, waiting) = try Self.fullNode(fileSystem)
        // Less than it takes for a node to be sure of its next segment.
        fileSystem.capacity = fileSystem.usedBytes + 2 * Self.segmentBytes - 1
        node.tick(100)
        #expect(node.core.isLogFull && node.outcome(of: waiting) == nil)
        fileSystem.capacity += 1
        node.tick(100)
        #expect(!node.core.isLogFull && node.isWritten(waiting))
        fileSystem.capacity = .max
        node.tick(100)
        let next = node.put([2])
        node.tick(2)
        #expect(node.isWritten(next) && !node.status.isDiskFull)
        // All of it is on the disk.
        var random = SplitMix64(seed: 1)
        let last = node.core.lastIndex
        fileSystem.crash(keep: .none, using: &random)
        let recovered = try RecoveredNode.open(
            logDirectory: "/wal", tableDirectory: "/tables", fileSystem: fileSystem,
            logOptions: LogOptions(segmentBytes: Self.segmentBytes), engineOptions: EngineOptions())
        #expect(recovered.state.lastIndex == last)
    }

    // MARK: A disk that is almost full

    /// What was accepted must still find room, so that writes are refused before the end; deletes, which make room, are
    /// taken down to a quarter of the reserve.
    @Test func theReserveIsForDeletes() throws {
        var options = ShellHarness.impatient
        options.minFreeBytes = 4_000
        let node = try ShellHarness(options: options)
        func isTaken(_ write: UInt64) -> Bool {
            node.run(.log, .apply)
            if node.refusal(of: write) == .diskFull { return false }
            #expect(node.isWritten(write))
            return true
        }
        for (free, takesPuts, takesDeletes) in [
            (4_000, true, true), (3_999, false, true), (1_000, false, true), (999, false, false), (0, false, false),
            (4_000, true, true),
        ] as [(UInt64, Bool, Bool)] {
            node.handle(.freeSpace(bytes: UInt64(free)))
            node.tick()
            #expect(isTaken(node.put([1])) == takesPuts, "\(free) bytes")
            #expect(isTaken(node.delete("key")) == takesDeletes, "\(free) bytes")
            #expect(isTaken(node.delete("key", "other")) == takesPuts, "a batch, \(free) bytes")
            #expect(node.status.isDiskFull == !takesPuts)
        }
    }

    // MARK: A disk that takes no further file

    /// Without inodes or quota a disk has room for bytes, and a flush fails all the same: that is a full disk, and the
    /// file is named. It ends by itself.
    @Test(arguments: [true, false]) func aTableThatCannotBeMadeIsAFullDisk(isSeenComing: Bool) throws {
        let fileSystem = MemoryFileSystem()
        var options = ShellHarness.impatient
        options.housekeepingTicks = 20
        // Of a quota no figure tells.
        if !isSeenComing { options.minFreeFiles = 0 }
        let node = try ShellHarness(options: options, fileSystem: fileSystem)
        let first = node.put([1])
        node.tick(2)
        #expect(node.isWritten(first) && !node.status.isDiskFull)
        fileSystem.fileCapacity = fileSystem.fileCount
        node.engine.requestFlush()
        node.tick(45, running: Lane.allCases)
        #expect(node.status.isDiskFull && node.failure == nil)
        #expect(
            node.status.refusedFile?.hasPrefix("/tables/") == true, "\(String(describing: node.status.refusedFile))")
        let (put, delete, read) = (node.put([2]), node.delete("key"), node.get())
        node.tick(2, running: Lane.allCases)
        #expect(node.refusal(of: put) == .diskFull)
        #expect(node.isWritten(delete), "it may make room")
        guard case .answered? = node.outcome(of: read) else {
            Issue.record("a read ended as \(String(describing: node.outcome(of: read)))")
            return
        }
        // It stays so, however often it is tried again; no file is left of the tries.
        let files = fileSystem.fileCount
        node.tick(200, running: Lane.allCases)
        #expect(node.status.isDiskFull && node.status.refusedFile != nil && fileSystem.fileCount <= files)
        fileSystem.fileCapacity = .max
        node.tick(45, running: Lane.allCases)
        #expect(!node.status.isDiskFull && node.status.refusedFile == nil)
        let next = node.put([3])
        node.tick(2)
        #expect(node.isWritten(next))
        // And once more.
        fileSystem.fileCapacity = fileSystem.fileCount
        node.engine.requestFlush()
        node.tick(45, running: Lane.allCases)
        #expect(node.status.isDiskFull)
    }

    /// What found no room is not due any more: the state ends all the same.
    @Test func aRefusalEndsWithoutAnotherFlush() throws {
        let fileSystem = MemoryFileSystem()
        var options = ShellHarness.impatient
        options.housekeepingTicks = 20
        options.minFreeFiles = 0
        let node = try ShellHarness(options: options, fileSystem: fileSystem)
        node.handle(.backgroundDone(.refused(path: "/tables/000009.sst")))
        node.tick()
        #expect(node.status.isDiskFull && node.status.refusedFile == "/tables/000009.sst")
        fileSystem.fileCapacity = fileSystem.fileCount
        node.tick(100, running: Lane.allCases)
        #expect(node.status.isDiskFull)
        fileSystem.fileCapacity = .max
        node.tick(45, running: Lane.allCases)
        #expect(!node.status.isDiskFull && node.status.refusedFile == nil)
        let tables = try fileSystem.list("/tables").filter { $0.hasSuffix(".sst") }
        #expect(tables.count == node.engine.statistics.tableCount, "\(tables)")
    }

    /// The next segment of the log cannot be made although there is space: nothing comes and goes meanwhile.
    @Test func aSegmentThatCannotBeMadeIsAFullDisk() throws {
        let fileSystem = MemoryFileSystem()
        var options = ShellHarness.impatient
        options.housekeepingTicks = 20
        options.requestWaitTicks = 1_000
        let node = try ShellHarness(
            options: options, logOptions: LogOptions(segmentBytes: Self.segmentBytes), fileSystem: fileSystem)
        fileSystem.fileCapacity = fileSystem.fileCount
        var waiting: UInt64 = 0
        while !node.core.isLogFull {
            waiting = node.put([UInt8](repeating: 7, count: 1_000))
            node.run(.log, .apply)
            try #require(node.core.lastIndex < 20)
        }
        for _ in 0..<100 {
            node.tick()
            #expect(node.core.isLogFull && node.status.isDiskFull)
        }
        #expect(node.status.refusedFile?.hasPrefix("/wal/") == true, "\(String(describing: node.status.refusedFile))")
        let put = node.put([1])
        node.tick(2)
        #expect(node.refusal(of: put) == .diskFull && node.outcome(of: waiting) == nil)
        fileSystem.fileCapacity = .max
        node.tick(45)
        #expect(node.isWritten(waiting) && !node.status.isDiskFull && node.status.refusedFile == nil)
    }

    /// What is not fullness stops the node, as ever.
    @Test(arguments: [ENOENT, EACCES, EROFS]) func otherFailuresStopTheNode(code: Int32) throws {
        let fileSystem = MemoryFileSystem()
        let node = try ShellHarness(fileSystem: fileSystem)
        _ = node.put([1])
        node.tick(2)
        node.engine.requestFlush()
        fileSystem.failCall(after: 0, code: code)
        node.run(.background)
        guard case .io(_, _, code)? = node.failure else {
            Issue.record("the node goes on: \(String(describing: node.failure))")
            return
        }
    }

    /// An operator asks one node, whoever leads, and is answered before the work is done.
    @Test(arguments: [1, 3]) func tablesAreMergedOnRequest(members: Int) throws {
        let node = try ShellHarness(members: members)
        let token = node.administer(.mergeTables)
        node.tick()
        guard case .administered? = node.outcome(of: token) else {
            Issue.record("it ended as \(String(describing: node.outcome(of: token)))")
            return
        }
        #expect(node.metrics.isSweeping)
        node.tick(10, running: Lane.allCases)
        #expect(!node.metrics.isSweeping && node.engine.statistics.sealedMemtables == 0)
    }

    /// The whole of it: a small disk filled until writes are refused, everything deleted, and writes are taken again.
    @Test func deletingEverythingEndsAFullDisk() throws {
        let fileSystem = MemoryFileSystem()
        var options = ShellHarness.impatient
        options.housekeepingTicks = 10
        options.logTailEntries = 10
        options.minFreeBytes = 120_000
        options.reclaimTicks = 50
        var engineOptions = EngineOptions()
        engineOptions.memtableMaxBytes = EngineOptions.minMemtableBytes
        engineOptions.maxTableBytes = 64 << 10
        engineOptions.minReclaimedBytes = 16 << 10
        engineOptions.reservedBytes = options.minFreeBytes / NodeOptions.reservePart
        let node = try ShellHarness(
            options: options, logOptions: LogOptions(segmentBytes: 16 << 10), engineOptions: engineOptions,
            fileSystem: fileSystem)
        fileSystem.capacity = 800_000
        var random = SeededGenerator(1)
        var keys = 0
        while !node.status.isDiskFull {
            let value = (0..<1_000).map { _ in UInt8.random(in: 0...255, using: &random) }
            let put = node.put(value, key: "key-\(keys)")
            node.tick(2, running: Lane.allCases)
            if node.isWritten(put) { keys += 1 }
            try #require(keys < 2_000)
        }
        try #require(keys > 200)
        let full = node.engine.statistics.tableBytes
        for key in 0..<keys {
            let delete = node.delete("key-\(key)")
            node.tick(1, running: Lane.allCases)
            #expect(node.isWritten(delete), "\(key): \(String(describing: node.outcome(of: delete)))")
        }
        node.tick(100, running: Lane.allCases)
        #expect(!node.status.isDiskFull)
        #expect(node.engine.statistics.tableBytes <= full / 10, "\(node.engine.statistics.levels)")
        let put = node.put([1])
        node.tick(2, running: Lane.allCases)
        #expect(node.isWritten(put))
    }

    /// The node looks by itself, in time.
    @Test func freeSpaceIsMeasured() throws {
        let fileSystem = MemoryFileSystem()
        var options = ShellHarness.impatient
        options.minFreeBytes = 4_000
        options.housekeepingTicks = 20
        let node = try ShellHarness(options: options, fileSystem: fileSystem)
        for (free, isFull) in [(3_999, true), (4_000, false), (0, true), (10_000, false)] {
            fileSystem.capacity = fileSystem.usedBytes + free
            node.tick(25)
            #expect(node.status.isDiskFull == isFull, "\(free) bytes")
        }
    }
}

extension ShellHarness {
    /// A leader's first: the cluster's configuration.
    var firstAppend: Message {
        .append(
            AppendRequest(
                term: 1, previousIndex: 0, previousTerm: 0, commit: 1,
                entries: [Entry(index: 1, term: 1, kind: .configuration, payload: configuration.encoded())]))
    }
}
