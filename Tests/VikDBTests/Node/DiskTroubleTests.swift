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
