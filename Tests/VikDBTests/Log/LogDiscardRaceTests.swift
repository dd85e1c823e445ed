import Glibc
import NIOCore
import Synchronization
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Readers of entries that are being discarded.
@Suite struct LogDiscardRaceTests {
    /// Twenty segments of 41 entries, most of them not open; everything before the last of them may go.
    private func makeLog(_ fileSystem: InterruptedFileSystem) throws -> LogStore {
        let (log, _) = try openLog(fileSystem)
        for index in UInt64(1)...20 * 41 { try log.append([logEntry(index)]) }
        try log.sync()
        log.allowDiscard(through: 800)
        return log
    }

    private static func discard(_ log: LogStore) throws {
        try log.append([logEntry(821)])
        try log.sync()
        #expect(log.base == LogBase(index: 779, term: 1))
        try log.removeDiscarded()
    }

    @Test func aSegmentThatWentBeforeItWasOpenedReadsAsNothing() throws {
        let fileSystem = InterruptedFileSystem()
        let log = try makeLog(fileSystem)
        fileSystem.interrupt(.before) { try Self.discard(log) }
        #expect(try log.read(from: 1, through: 10, maxBytes: 1000).isEmpty)
        #expect(log.base.index == 779)
    }

    @Test func aSegmentThatIsOpenIsReadToItsEnd() throws {
        let fileSystem = InterruptedFileSystem()
        let log = try makeLog(fileSystem)
        fileSystem.interrupt(.after) { try Self.discard(log) }
        // The second segment goes before the reader comes to it.
        let found = try log.read(from: 1, through: 82, maxBytes: 1 << 20)
        #expect(found == (1...41).map { logEntry($0) })
        #expect(log.base.index == 779)
        #expect(try log.read(from: 1, through: 82, maxBytes: 1 << 20).isEmpty)
        // Two segments and the hard state: nothing holds the space of the others.
        #expect(fileSystem.disk.openFileCount == 3)
    }

    /// A file that is gone although its segment is live is an error, not an end.
    @Test func aLiveSegmentThatIsMissingIsAnError() throws {
        let fileSystem = InterruptedFileSystem()
        let log = try makeLog(fileSystem)
        try fileSystem.disk.remove(logDirectory + "/00000001.log")
        #expect(throws: StorageError.self) { try log.read(from: 1, through: 10, maxBytes: 1000) }
    }

    @Test func readersGoOnWhileTheLogIsDiscarded() throws {
        let (log, _) = try openLog(MemoryFileSystem())
        let written = Mutex<LogIndex>(0)
        let isDone = Atomic(false)
        let complaints = Mutex<[String]>([])
        let reads = Mutex((found: 0, gone: 0))
        let executor = ThreadExecutor(readThreads: 2)
        @Sendable func guarded(_ name: String, _ body: () throws -> Void) {
            do { try body() } catch { complaints.withLock { $0.append("\(name): \(error)") } }
        }
        /// Until the readers have met enough of both, however slow they are.
        @Sendable func isEnough() -> Bool {
            reads.withLock { $0.found >= 200 && $0.gone >= 20 } || complaints.withLock { !$0.isEmpty }
        }
        executor.submit(.log) {
            guarded("append") {
                var first: LogIndex = 1
                while first < 9000 || !isEnough() {
                    try log.append((first..<first + 3).map { logEntry($0) })
                    try log.sync()
                    written.withLock { $0 = first + 2 }
                    // Many segments go at once, so that a reader is in the middle of them.
                    if first % 600 == 1 { log.allowDiscard(through: first - min(first, 600)) }
                    first += 3
                }
            }
            isDone.store(true, ordering: .releasing)
        }
        executor.submit(.background) {
            guarded("remove") {
                while !isDone.load(ordering: .acquiring) {
                    try log.removeDiscarded()
                    usleep(50)
                }
            }
        }
        for seed in UInt64(1)...2 {
            executor.submit(.read) {
                var generator = SplitMix64(seed: seed)
                guarded("read") {
                    while !isDone.load(ordering: .acquiring) {
                        let base = log.base.index
                        let last = written.withLock(\.self)
                        guard last > 0 else { continue }
                        let range = max(1, base - min(base, 20))...min(last, base + 60)
                        let first = UInt64.random(in: range, using: &generator)
                        let found = try log.read(from: first, through: last, maxBytes: 30_000)
                        let expected = (first..<first + UInt64(found.count)).map { logEntry($0) }
                        if found != expected { complaints.withLock { $0.append("wrong entries from \(first)") } }
                        if found.isEmpty, first > log.base.index {
                            complaints.withLock { $0.append("nothing at \(first)") }
                        }
                        reads.withLock { if found.isEmpty { $0.gone += 1 } else { $0.found += 1 } }
                    }
                }
            }
        }
        executor.shutdown()
        #expect(complaints.withLock(\.self) == [])
        #expect(log.base.index > 7000)
    }
}
