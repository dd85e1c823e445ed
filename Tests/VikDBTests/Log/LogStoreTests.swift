import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What the log does when nothing goes wrong.
@Suite struct LogStoreTests {
    @Test func aNewLogIsEmpty() throws {
        let (store, recovered) = try openLog(MemoryFileSystem())
        #expect(recovered.hardState == HardState())
        #expect(recovered.firstIndex == 1 && recovered.lastIndex == 0 && recovered.baseTerm == 0)
        #expect(recovered.termRuns.isEmpty && recovered.configurations.isEmpty)
        #expect(try store.read(from: 1, through: 9, maxBytes: 100).isEmpty)
        #expect(store.bytesOnDisk == 4096)
    }

    /// Records, with header and padding.
    @Test func writtenBytesAreCounted() throws {
        let fileSystem = MemoryFileSystem()
        let (store, _) = try openLog(fileSystem)
        #expect(store.writtenBytes == 0)
        var expected: UInt64 = 0
        for group in [[logEntry(1)], [logEntry(2, bytes: 1), logEntry(3, bytes: 3_000)], [logEntry(4, bytes: 2_000)]] {
            try store.append(group)
            let body = group.reduce(0) { $0 + $1.bytes.readableBytes }
            expected += UInt64(32 + (body + 7) / 8 * 8)
            #expect(store.writtenBytes == expected)
        }
        #expect(try openLog(fileSystem).store.writtenBytes == 0)
    }

    @Test func oneGroupTakesOneWriteAndOneSync() throws {
        let fileSystem = MemoryFileSystem()
        let (store, _) = try openLog(fileSystem, segmentBytes: 1 << 20)
        let calls = fileSystem.callCount
        try store.append((1...500).map { logEntry($0, bytes: 300) })
        try store.sync()
        #expect(fileSystem.callCount == calls + 2)
    }

    @Test func largeEntriesAndLargeGroupsAreStored() throws {
        let fileSystem = MemoryFileSystem()
        let (store, _) = try openLog(fileSystem, segmentBytes: 3 << 20)
        let sizes = [
            WireLimits.maxEntryPayloadBytes, 0, 1 << 20, 300, (1 << 20) + 1, WireLimits.maxEntryPayloadBytes, 1,
        ]
        let entries = sizes.enumerated().map { logEntry(UInt64($0.offset) + 1, bytes: $0.element) }
        try store.append(entries)
        try store.append((8...4000).map { logEntry($0, bytes: 1000) })
        try store.sync()
        let (reopened, recovered) = try openLog(fileSystem, segmentBytes: 3 << 20)
        #expect(recovered.lastIndex == 4000)
        for entry in entries {
            #expect(try reopened.read(from: entry.index, through: 4000, maxBytes: 1) == [entry])
        }
        let all = try reopened.read(from: 1, through: 4000, maxBytes: .max / 2)
        #expect(all.map(\.index) == Array(1...4000))
        // Only a few of the segments stay open.
        #expect(fileSystem.openFileCount < 30)
    }

    @Test func aSupersededPartIsGone() throws {
        let fileSystem = MemoryFileSystem()
        let (store, _) = try openLog(fileSystem)
        try store.append((1...30).map { logEntry($0) })
        try store.append((10...12).map { logEntry($0, term: 2) })
        try store.append((11...20).map { logEntry($0, term: 3) })
        let runs = [
            TermRun(firstIndex: 1, term: 1), TermRun(firstIndex: 10, term: 2), TermRun(firstIndex: 11, term: 3),
        ]
        let found = try store.read(from: 1, through: 99, maxBytes: 1 << 20)
        #expect(found.map(\.index) == Array(1...20))
        #expect(LogModel.termRuns(found) == runs)
        #expect(try store.read(from: 21, through: 22, maxBytes: 10).isEmpty)
        try store.close()
        #expect(throws: StorageError.self) { try store.append([logEntry(21)]) }
        #expect(try openLog(fileSystem).recovered.termRuns == runs)
    }

    @Test func aResetLogGoesOnAfterItsBase() throws {
        let fileSystem = MemoryFileSystem()
        let (store, _) = try openLog(fileSystem)
        try store.append((1...100).map { logEntry($0) })
        try store.reset(toFollow: 500, term: 4)
        #expect(try store.read(from: 1, through: 100, maxBytes: 100).isEmpty)
        try store.append((501...600).map { logEntry($0, term: 5) })
        try store.close()
        let (reopened, recovered) = try openLog(fileSystem)
        #expect(recovered.firstIndex == 501 && recovered.lastIndex == 600 && recovered.baseTerm == 4)
        #expect(try everything(in: reopened, recovered) == (501...600).map { logEntry($0, term: 5) })
    }

    @Test func aCleanlyClosedLogGrowsNoSegmentsWhenReopened() throws {
        let fileSystem = MemoryFileSystem()
        for round in UInt64(1)...20 {
            let (store, recovered) = try openLog(fileSystem)
            #expect(recovered.lastIndex == round - 1)
            try store.append([logEntry(round)])
            try store.close()
        }
        for _ in 0..<100 { try openLog(fileSystem).store.close() }
        #expect(try openLog(fileSystem).store.bytesOnDisk == 4096)
    }

    @Test func theHardStateSurvives() throws {
        let fileSystem = MemoryFileSystem()
        var (store, recovered) = try openLog(fileSystem)
        for term in UInt64(1)...5 {
            let state = HardState(term: term, vote: MemberID(rawValue: term * 7), commit: term + 1)
            try store.save(state)
            (store, recovered) = try openLog(fileSystem)
            #expect(recovered.hardState == state)
        }
    }
}
