import Glibc
import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// The log loses segments at its front, and nothing else.
///
/// A segment of 4 KiB holds 41 records of one entry each, so that without supersession the segments start with the
/// entries 1, 42, 83, 124, ….
@Suite struct LogDiscardTests {
    private static let perSegment: UInt64 = 41
    private static let segmentSize: UInt64 = 4096

    /// Appends entries as records of their own.
    private func append(_ entries: ClosedRange<LogIndex>, term: Term = 1, to log: LogStore) throws(StorageError) {
        for index in entries { try log.append([logEntry(index, term: term)]) }
        try log.sync()
    }

    private func files(_ fileSystem: MemoryFileSystem) throws(StorageError) -> [String] {
        try fileSystem.list(logDirectory).filter { $0 != "hard-state" }
    }

    /// Entries `first...last` of `log`, and that it has none before.
    private func expectLog(
        _ log: LogStore, from first: LogIndex, through last: LogIndex, terms: [TermRun],
        location: SourceLocation = #_sourceLocation
    ) throws(StorageError) {
        let found = try log.read(from: first, through: last + 1, maxBytes: 1 << 20)
        #expect(found.map(\.index) == Array(first...last), sourceLocation: location)
        #expect(LogModel.termRuns(found) == terms, sourceLocation: location)
        if first > 1 {
            #expect(try log.read(from: first - 1, through: last, maxBytes: 1).isEmpty, sourceLocation: location)
        }
    }

    @Test func theLogStartsLaterOnceItGoesOnInANewSegment() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try append(1...20, to: log)
        try append(21...82, term: 2, to: log)
        let calls = fileSystem.callCount
        log.allowDiscard(through: 60)
        log.allowDiscard(through: 3)
        #expect(fileSystem.callCount == calls)
        #expect(log.base == LogBase() && !log.hasDiscarded)
        try expectLog(
            log, from: 1, through: 82, terms: [TermRun(firstIndex: 1, term: 1), TermRun(firstIndex: 21, term: 2)])

        try append(83...84, term: 3, to: log)
        #expect(log.base == LogBase(index: 41, term: 2) && log.hasDiscarded)
        let terms = [TermRun(firstIndex: 42, term: 2), TermRun(firstIndex: 83, term: 3)]
        try expectLog(log, from: 42, through: 84, terms: terms)
        #expect(try log.read(from: 1, through: 84, maxBytes: 1000).isEmpty)
        #expect(try files(fileSystem) == ["00000001.log", "00000002.log", "00000003.log"])
        #expect(log.bytesOnDisk == 3 * Self.segmentSize)

        try log.removeDiscarded()
        #expect(try files(fileSystem) == ["00000002.log", "00000003.log"])
        #expect(try files(fileSystem.durableCopy()) == ["00000002.log", "00000003.log"])
        #expect(log.bytesOnDisk == 2 * Self.segmentSize && !log.hasDiscarded)
        let callsAfterwards = fileSystem.callCount
        try log.removeDiscarded()
        #expect(fileSystem.callCount == callsAfterwards)

        let (reopened, recovered) = try openLog(fileSystem)
        #expect(recovered.firstIndex == 42 && recovered.baseTerm == 2 && recovered.lastIndex == 84)
        #expect(recovered.termRuns == terms)
        #expect(reopened.base == LogBase(index: 41, term: 2) && !reopened.hasDiscarded)
        try expectLog(reopened, from: 42, through: 84, terms: terms)
    }

    /// What is known of the segments must be the same whether they were written or recovered.
    @Test(arguments: [false, true]) func aRecordThatReachesBackKeepsTheSegmentsBeforeIt(isReopened: Bool) throws {
        let fileSystem = MemoryFileSystem()
        var (log, _) = try openLog(fileSystem)
        func allowDiscard(through index: LogIndex) throws {
            if isReopened { log = try openLog(fileSystem).store }
            log.allowDiscard(through: index)
        }
        // The third segment has 83 and then 40...79.
        try append(1...83, to: log)
        try append(40...79, term: 2, to: log)
        try allowDiscard(through: 41)
        try append(80...80, term: 2, to: log)
        #expect(log.base == LogBase())
        try expectLog(
            log, from: 1, through: 80, terms: [TermRun(firstIndex: 1, term: 1), TermRun(firstIndex: 40, term: 2)])
        // The fourth starts with 80, which follows 79.
        try append(81...120, term: 2, to: log)
        try allowDiscard(through: 78)
        try append(121...161, term: 2, to: log)
        #expect(log.base == LogBase())
        try allowDiscard(through: 79)
        try append(162...162, term: 2, to: log)
        #expect(log.base == LogBase(index: 79, term: 2))
        try expectLog(log, from: 80, through: 162, terms: [TermRun(firstIndex: 80, term: 2)])
        let (reopened, recovered) = try openLog(fileSystem)
        #expect(recovered.firstIndex == 80 && recovered.baseTerm == 2)
        try expectLog(reopened, from: 80, through: 162, terms: recovered.termRuns)
    }

    @Test(arguments: [false, true]) func aSegmentThatStartsBySupersedingDoesNotStartTheLog(isReopened: Bool) throws {
        let fileSystem = MemoryFileSystem()
        var (log, _) = try openLog(fileSystem)
        try append(1...41, to: log)
        // The second segment has 41...81, the third 82...122.
        try append(41...81, term: 2, to: log)
        if isReopened { log = try openLog(fileSystem).store }
        log.allowDiscard(through: 80)
        try append(82...122, term: 2, to: log)
        #expect(log.base == LogBase())
        log.allowDiscard(through: 122)
        try append(123...123, term: 2, to: log)
        #expect(log.base == LogBase(index: 81, term: 2))
        try expectLog(log, from: 82, through: 123, terms: [TermRun(firstIndex: 82, term: 2)])
    }

    @Test(arguments: [false, true]) func aRecordThatSupersedesTheFirstOfItsSegmentIsNoHindrance(
        isReopened: Bool
    ) throws {
        let fileSystem = MemoryFileSystem()
        var (log, _) = try openLog(fileSystem)
        try append(1...60, to: log)
        // The second segment has 42...60 and then 42...63.
        try append(42...63, term: 2, to: log)
        if isReopened { log = try openLog(fileSystem).store }
        log.allowDiscard(through: 41)
        try append(64...64, term: 2, to: log)
        #expect(log.base == LogBase(index: 41, term: 1))
        try expectLog(log, from: 42, through: 64, terms: [TermRun(firstIndex: 42, term: 2)])
        #expect(try openLog(fileSystem).recovered.baseTerm == 1)
    }

    /// The append that starts the new segment reaches back before what might have become the start.
    @Test func anAppendThatReachesBackKeepsWhatItNeeds() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try append(1...82, to: log)
        log.allowDiscard(through: 82)
        try append(30...70, term: 2, to: log)
        #expect(log.base == LogBase())
        let terms = [TermRun(firstIndex: 1, term: 1), TermRun(firstIndex: 30, term: 2)]
        try expectLog(log, from: 1, through: 70, terms: terms)
        try expectLog(try openLog(fileSystem).store, from: 1, through: 70, terms: terms)
        try append(71...112, term: 2, to: log)
        #expect(log.base == LogBase(index: 70, term: 2))
    }

    @Test(arguments: [false, true]) func aTailIsKept(isReopened: Bool) throws {
        let fileSystem = MemoryFileSystem()
        var (log, _) = try openLog(fileSystem)
        #expect(log.firstIndex(keepingBytes: 0) == 1 && log.firstIndex(keepingBytes: 1) == 1)
        // Three full segments, and ten records in the fourth.
        try append(1...133, to: log)
        if isReopened {
            try log.close()
            log = try openLog(fileSystem).store
        }
        let full = 41 * 96
        let expected: [(bytes: Int, first: LogIndex)] = [
            (0, 134), (1, 124), (960, 124), (961, 83), (960 + full, 83), (961 + full, 42), (961 + 2 * full, 1),
            (.max, 1),
        ]
        for (bytes, first) in expected {
            #expect(log.firstIndex(keepingBytes: bytes) == first, "\(bytes) bytes")
        }
        // The fourth segment reaches back into the first one, so that its bytes need all entries from there on.
        try append(30...40, term: 2, to: log)
        #expect(log.firstIndex(keepingBytes: 1) == 30)
        #expect(log.firstIndex(keepingBytes: .max) == 1)
    }

    @Test func aFullDiskDiscardsNothing() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try append(1...82, to: log)
        log.allowDiscard(through: 82)
        fileSystem.capacity = fileSystem.usedBytes
        #expect(throws: StorageError.full(path: "/wal/00000003.log.tmp")) { try append(83...83, to: log) }
        #expect(log.base == LogBase() && !log.hasDiscarded)
        try expectLog(log, from: 1, through: 82, terms: [TermRun(firstIndex: 1, term: 1)])
        #expect(try openLog(fileSystem).recovered.firstIndex == 1)
        fileSystem.capacity = .max
        try append(83...83, to: log)
        #expect(log.base == LogBase(index: 41, term: 1))
        #expect(try openLog(fileSystem).recovered.firstIndex == 42)
    }

    /// No file may go before the log surely does without it.
    @Test func aNewSegmentThatFailsDiscardsNothing() throws {
        var isComplete = false
        var calls = 0
        while !isComplete {
            let fileSystem = MemoryFileSystem()
            let (log, _) = try openLog(fileSystem)
            try append(1...82, to: log)
            log.allowDiscard(through: 82)
            fileSystem.failCall(after: calls, code: EIO)
            do throws(StorageError) {
                try log.append([logEntry(83)])
                isComplete = true
                #expect(log.base == LogBase(index: 41, term: 1))
            } catch {
                // The last call is the write of the entry itself.
                let isAdopted = calls == 9
                #expect(log.hasDiscarded == isAdopted && log.base.index == (isAdopted ? 41 : 0), "call \(calls)")
            }
            calls += 1
        }
        #expect(calls == 11)
    }

    @Test func aRemovalThatFailedMayBeRepeated() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try append(1...164, to: log)
        log.allowDiscard(through: 130)
        try append(165...165, to: log)
        fileSystem.failCall(after: 1, code: EIO)
        #expect(throws: StorageError.self) { try log.removeDiscarded() }
        #expect(log.hasDiscarded && log.bytesOnDisk == 4 * Self.segmentSize)
        try append(166...170, to: log)
        try log.removeDiscarded()
        #expect(!log.hasDiscarded && log.bytesOnDisk == 2 * Self.segmentSize)
        #expect(try files(fileSystem) == ["00000004.log", "00000005.log"])
    }

    @Test func aResetKeepsNoFileFromBeingRemoved() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try append(1...82, to: log)
        log.allowDiscard(through: 60)
        try append(83...83, to: log)
        try log.reset(toFollow: 500, term: 4)
        #expect(log.base == LogBase(index: 500, term: 4))
        #expect(log.bytesOnDisk == 4 * Self.segmentSize && log.hasDiscarded)
        try log.removeDiscarded()
        #expect(try files(fileSystem) == ["00000004.log"])
        #expect(log.bytesOnDisk == Self.segmentSize)
        try append(501...600, term: 5, to: log)
        #expect(log.base == LogBase(index: 500, term: 4))
        log.allowDiscard(through: 560)
        try append(601...624, term: 5, to: log)
        #expect(log.base == LogBase(index: 541, term: 5))
        #expect(try openLog(fileSystem).store.base == LogBase(index: 541, term: 5))
    }

    /// A hundred times more is appended than the directory ever takes.
    @Test(arguments: Seeds.list(4)) func theDirectoryStaysSmall(seed: UInt64) throws {
        let kept = 12 << 10
        let bound = 96 << 10
        let fileSystem = MemoryFileSystem()
        var generator = SplitMix64(seed: seed)
        var (log, _) = try openLog(fileSystem)
        var last: LogIndex = 0
        var appended = 0
        while appended < 100 * bound {
            // Now and then some of the entries that the log must still have are superseded.
            let first = last + 1 - (Int.random(in: 0..<10, using: &generator) == 0 ? min(2, last - log.base.index) : 0)
            let entries = (first...first + UInt64.random(in: 0..<4, using: &generator)).map {
                logEntry($0, bytes: Int.random(in: 0..<1000, using: &generator))
            }
            try log.append(entries)
            try log.sync()
            last = entries.last!.index
            appended += entries.reduce(0) { $0 + $1.bytes.readableBytes }
            log.allowDiscard(through: log.firstIndex(keepingBytes: kept) - 1)
            if log.hasDiscarded { try log.removeDiscarded() }
            #expect(fileSystem.usedBytes <= bound, "VIK_SEED=\(seed)")
            if appended > 2 * bound { #expect(log.bytesOnDisk >= UInt64(kept), "VIK_SEED=\(seed)") }
            if Int.random(in: 0..<500, using: &generator) == 0 {
                if Bool.random(using: &generator) { try log.close() }
                log = try openLog(fileSystem).store
            }
        }
        let (reopened, recovered) = try openLog(fileSystem)
        let found = try everything(in: reopened, recovered)
        #expect(found.last?.index == last, "VIK_SEED=\(seed)")
    }
}
