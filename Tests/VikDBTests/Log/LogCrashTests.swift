import Glibc
import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Crashes of the log at every place, on a disk that forgets (proof scenarios 26, 27, 30, 31, 36).
@Suite struct LogCrashTests {
    /// What happened in all runs.
    private struct Coverage {
        var discards = 0
        /// The base moved in a call that a crash cut short.
        var discardsFoundLater = 0
        /// Files of discarded segments were still there.
        var leftovers = 0
        var removals = 0
    }

    @Test func whatWasSyncedSurvivesRandomCrashes() throws {
        var coverage = Coverage()
        let seeds = Seeds.list(300)
        for seed in seeds { try crashAtRandom(seed, &coverage) }
        guard seeds.count > 1 else { return }
        #expect(coverage.discards > 100 && coverage.discardsFoundLater > 0, "\(coverage)")
        #expect(coverage.leftovers > 100 && coverage.removals > 100, "\(coverage)")
    }

    private func crashAtRandom(_ seed: UInt64, _ coverage: inout Coverage) throws {
        var generator = SplitMix64(seed: seed)
        let fileSystem = MemoryFileSystem()
        var model = LogModel()
        var log: LogStore?
        for round in 0..<12 {
            let context: Comment = "VIK_SEED=\(seed), round \(round)"
            // Recovery crashes too, again and again.
            while log == nil {
                if Bool.random(using: &generator) {
                    fileSystem.crashAfter(calls: Int.random(in: 0..<40, using: &generator))
                }
                do throws(StorageError) {
                    let base = model.base
                    let bytes = try segmentBytes(on: fileSystem)
                    let (store, recovered) = try openLog(fileSystem)
                    try model.adopt(store, recovered, context)
                    #expect(try segmentBytes(on: fileSystem) == store.bytesOnDisk, context)
                    if model.base != base { coverage.discardsFoundLater += 1 }
                    if bytes > store.bytesOnDisk { coverage.leftovers += 1 }
                    log = store
                } catch {
                    try #require(fileSystem.hasReachedCrashPoint, "\(context): \(error)")
                    crash(fileSystem, &generator)
                }
            }
            if Bool.random(using: &generator) {
                fileSystem.crashAfter(calls: Int.random(in: 0..<60, using: &generator))
            }
            do throws(StorageError) {
                try run(log!, &model, fileSystem, &generator, &coverage, context)
                if Bool.random(using: &generator) { try log!.close() }
            } catch {
                try #require(fileSystem.hasReachedCrashPoint, "\(context): \(error)")
            }
            log = nil
            // Otherwise only the process died: nothing is lost, though nothing more is synced either.
            if fileSystem.hasReachedCrashPoint || Bool.random(using: &generator) { crash(fileSystem, &generator) }
        }
    }

    private func crash(_ fileSystem: MemoryFileSystem, _ generator: inout SplitMix64) {
        fileSystem.crash(keep: .allCases.randomElement(using: &generator)!, using: &generator)
    }

    private func run(
        _ log: LogStore, _ model: inout LogModel, _ fileSystem: MemoryFileSystem, _ generator: inout SplitMix64,
        _ coverage: inout Coverage, _ context: Comment
    ) throws(StorageError) {
        for _ in 0..<Int.random(in: 0..<30, using: &generator) {
            switch Int.random(in: 0..<14, using: &generator) {
            case 0..<6:
                let count = Int.random(in: 1...6, using: &generator)
                let maxPayload = Int.random(in: 0..<8, using: &generator) == 0 ? 6000 : 300
                let entries = model.makeEntries(count: count, maxPayload: maxPayload, using: &generator)
                model.append(entries)
                let base = model.base
                defer {
                    model.follow(log, context)
                    if model.base != base { coverage.discards += 1 }
                }
                try log.append(entries)
            case 6..<9:
                try log.sync()
                model.sync()
            case 9..<11:
                let state = HardState(
                    term: model.hardState.term + 1, vote: MemberID(rawValue: generator.next()),
                    commit: model.hardState.commit + 1)
                model.pendingHardState = state
                try log.save(state)
                model.save(state)
            case 11:
                let index = UInt64.random(in: 0...model.lastIndex, using: &generator)
                model.allowDiscard(through: index)
                log.allowDiscard(through: index)
            case 12:
                if log.hasDiscarded { coverage.removals += 1 }
                try log.removeDiscarded()
                #expect(!log.hasDiscarded, context)
                #expect(try segmentBytes(on: fileSystem) == log.bytesOnDisk, context)
            default:
                let entries = model.entries
                guard let first = entries.randomElement(using: &generator) else { break }
                let maxBytes = Int.random(in: 1...4000, using: &generator)
                let found = try log.read(from: first.index, through: model.lastIndex, maxBytes: maxBytes)
                guard first.index > model.base.index else {
                    #expect(found.isEmpty, context)
                    break
                }
                let expected = entries.drop { $0.index < first.index }
                #expect(!found.isEmpty && found.elementsEqual(expected.prefix(found.count)), context)
                let bytes = found.reduce(0) { $0 + $1.bytes.readableBytes }
                #expect(bytes <= maxBytes || found.count == 1, context)
            }
        }
    }

    /// One script, cut after each of its calls, with each fate of what was not synced.
    @Test(arguments: MemoryFileSystem.Keep.allCases)
    func aCrashAfterEachCallLosesNothingSynced(keep: MemoryFileSystem.Keep) throws {
        var generator = SplitMix64(seed: Seeds.list(1)[0])
        var isComplete = false
        var calls = 0
        var bases: Set<LogIndex> = []
        while !isComplete {
            let fileSystem = MemoryFileSystem()
            fileSystem.crashAfter(calls: calls)
            var model = LogModel()
            do throws(StorageError) {
                try runScript(fileSystem, &model)
                isComplete = true
            } catch {
                try #require(fileSystem.hasReachedCrashPoint, "after \(calls) calls: \(error)")
            }
            fileSystem.crash(keep: keep, using: &generator)
            let (store, recovered) = try openLog(fileSystem)
            try model.adopt(store, recovered, "crash after \(calls) calls, keep \(keep)")
            #expect(try segmentBytes(on: fileSystem) == store.bytesOnDisk)
            bases.insert(store.base.index)
            try store.append([logEntry(model.lastIndex + 1)])
            try store.sync()
            calls += 1
        }
        #expect(calls > 100)
        #expect(bases == [0, 17, 29, 33])
    }

    /// The same with a process that dies while the machine runs on: what the next one finds is not yet on disk.
    @Test func whatAKilledProcessLeftIsMadeDurable() throws {
        var generator = SplitMix64(seed: 1)
        var isComplete = false
        var calls = 0
        while !isComplete {
            let fileSystem = MemoryFileSystem()
            fileSystem.crashAfter(calls: calls)
            var model = LogModel()
            do throws(StorageError) {
                try runScript(fileSystem, &model)
                isComplete = true
            } catch {
                try #require(fileSystem.hasReachedCrashPoint, "after \(calls) calls: \(error)")
            }
            fileSystem.killProcess()
            let (store, recovered) = try openLog(fileSystem)
            try model.adopt(store, recovered, "killed after \(calls) calls")
            fileSystem.crash(keep: .none, using: &generator)
            let (again, found) = try openLog(fileSystem)
            try model.adopt(again, found, "killed after \(calls) calls, then a power loss")
            calls += 1
        }
    }

    private func runScript(_ fileSystem: MemoryFileSystem, _ model: inout LogModel) throws(StorageError) {
        var (log, recovered) = try openLog(fileSystem)
        func append(_ range: ClosedRange<LogIndex>, bytes: Int = 200) throws(StorageError) {
            let entries = range.map { logEntry($0, bytes: bytes) }
            model.append(entries)
            defer { model.follow(log, "append of \(range)") }
            try log.append(entries)
        }
        func sync() throws(StorageError) {
            try log.sync()
            model.sync()
        }
        func allowDiscard(through index: LogIndex) {
            model.allowDiscard(through: index)
            log.allowDiscard(through: index)
        }
        func save(_ term: Term) throws(StorageError) {
            let state = HardState(term: term, vote: MemberID(rawValue: term), commit: term)
            model.pendingHardState = state
            try log.save(state)
            model.save(state)
        }
        try save(1)
        try append(1...5)
        try sync()
        try save(2)
        for first in stride(from: UInt64(6), to: 40, by: 6) {
            try append(first...first + 5)
            try save(first)
            try sync()
            allowDiscard(through: first - 1)
        }
        // The segments start with the entries 1, 18, 30 and 34.
        try append(30...33, bytes: 10)
        try log.removeDiscarded()
        try append(34...50, bytes: 700)
        try sync()
        try log.close()
        (log, recovered) = try openLog(fileSystem)
        #expect(recovered.lastIndex == 50)
        allowDiscard(through: 50)
        try append(51...53)
        try save(60)
        try log.removeDiscarded()
        try sync()
        try append(52...60)
    }

    /// The same for a reset, which has only a before and an after.
    @Test(arguments: MemoryFileSystem.Keep.allCases)
    func aResetHappensWhollyOrNotAtAll(keep: MemoryFileSystem.Keep) throws {
        var generator = SplitMix64(seed: Seeds.list(1)[0])
        var isComplete = false
        var outcomes: Set<LogIndex> = []
        var calls = 0
        while !isComplete {
            let fileSystem = MemoryFileSystem()
            let (log, _) = try openLog(fileSystem)
            try log.append((1...60).map { logEntry($0, bytes: 100) })
            try log.sync()
            fileSystem.crashAfter(calls: calls)
            do throws(StorageError) {
                try log.reset(toFollow: 1000, term: 7)
                isComplete = true
            } catch {
                try #require(fileSystem.hasReachedCrashPoint, "\(error)")
            }
            fileSystem.crash(keep: keep, using: &generator)
            let (reopened, recovered) = try openLog(fileSystem)
            outcomes.insert(recovered.firstIndex)
            if recovered.firstIndex == 1 {
                #expect(!isComplete)
                #expect(try everything(in: reopened, recovered).count == 60)
            } else {
                #expect(recovered.firstIndex == 1001 && recovered.lastIndex == 1000 && recovered.baseTerm == 7)
                #expect(reopened.bytesOnDisk == 4096)
            }
            calls += 1
        }
        #expect(outcomes == [1, 1001])
    }

    @Test func theLastRecordMayEndAtAnyByte() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try log.append((1...3).map { logEntry($0) })
        try log.sync()
        let before = try DiskImage(of: fileSystem)
        try log.append((4...6).map { logEntry($0) })
        try log.sync()
        let name = "00000001.log"
        let after = try DiskImage(of: fileSystem)
        let changed = after.files[name]!.indices.filter { before.files[name]![$0] != after.files[name]![$0] }
        for cut in changed.first!...changed.last! + 1 {
            var image = before
            image.files[name]!.replaceSubrange(..<cut, with: after.files[name]![..<cut])
            let damaged = try image.restored()
            let (store, recovered) = try openLog(damaged)
            // The length is on disk before the bytes: only the whole record counts.
            #expect(recovered.lastIndex == (cut == changed.last! + 1 ? 6 : 3), "cut at \(cut)")
            try store.append([logEntry(recovered.lastIndex + 1, bytes: 64)])
            try store.sync()
            let (again, reopened) = try openLog(damaged)
            #expect(reopened.lastIndex == recovered.lastIndex + 1)
            #expect(try everything(in: again, reopened).last == logEntry(recovered.lastIndex + 1, bytes: 64))
        }
    }

    /// A record behind a torn one is whole, and what replaces the torn one has just its size.
    @Test func whatLayBehindATornRecordNeverComesBack() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        for index in UInt64(1)...4 { try log.append([logEntry(index, bytes: 40)]) }
        var image = try DiskImage(of: fileSystem)
        image.files["00000001.log"]![64 + 96 + 50] ^= 1  // a byte of the second of four records
        let damaged = try image.restored()
        var (store, recovered) = try openLog(damaged)
        #expect(recovered.lastIndex == 1)
        try store.append([logEntry(2, term: 9, bytes: 40)])
        try store.sync()
        (store, recovered) = try openLog(damaged)
        #expect(recovered.lastIndex == 2)
        #expect(recovered.termRuns.last == TermRun(firstIndex: 2, term: 9))
    }

    @Test(arguments: [EIO, ENOSPC])
    func aFailedSyncIsFinal(code: Int32) throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try log.append([logEntry(1)])
        fileSystem.failCall(after: 0, code: code)
        #expect(throws: StorageError.self) { try log.sync() }
        #expect(throws: StorageError.self) { try log.sync() }
        #expect(throws: StorageError.self) { try log.append([logEntry(2)]) }
        #expect(throws: StorageError.self) { try log.save(HardState(term: 1)) }
        #expect(throws: StorageError.self) { try log.close() }
        // The next process reads the entry from the cache and counts it as durable: it must make it so.
        let (_, recovered) = try openLog(fileSystem)
        #expect(recovered.lastIndex == 1)
        var generator = SplitMix64(seed: 1)
        fileSystem.crash(keep: .none, using: &generator)
        #expect(try openLog(fileSystem).recovered.lastIndex == 1)
    }

    @Test func everyFailedCallIsReportedAndFinal() throws {
        for calls in 0..<40 {
            for code in [EIO, ENOSPC] {
                let fileSystem = MemoryFileSystem()
                var model = LogModel()
                let (log, _) = try openLog(fileSystem)
                fileSystem.failCall(after: calls, code: code)
                do throws(StorageError) {
                    for index in UInt64(1)...30 {
                        model.append([logEntry(index, bytes: 300)])
                        try log.append([logEntry(index, bytes: 300)])
                        try log.sync()
                        model.sync()
                        model.allowDiscard(through: index)
                        log.allowDiscard(through: index)
                    }
                } catch {
                    if code == EIO { #expect(throws: error) { try log.sync() } }
                }
                var generator = SplitMix64(seed: UInt64(calls))
                fileSystem.crash(keep: .random, using: &generator)
                let (reopened, recovered) = try openLog(fileSystem)
                try model.adopt(reopened, recovered, "call \(calls) failed with \(code)")
            }
        }
    }

    @Test func aFullDiskRefusesAnAppendAndLetsItBeRepeated() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        fileSystem.capacity = fileSystem.usedBytes
        var index: LogIndex = 0
        #expect(throws: StorageError.full(path: "/wal/00000002.log.tmp")) {
            while true {
                try log.append([logEntry(index + 1, bytes: 300)])
                try log.sync()
                index += 1
            }
        }
        fileSystem.capacity = .max
        try log.append([logEntry(index + 1, bytes: 300)])
        try log.sync()
        let (store, recovered) = try openLog(fileSystem)
        #expect(recovered.lastIndex == index + 1)
        #expect(try everything(in: store, recovered).count == Int(index) + 1)
    }
}
