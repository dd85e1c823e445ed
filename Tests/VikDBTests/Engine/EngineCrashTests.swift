import Testing
import VikDB
import VikTestSupport
import VikWire

/// A crash after every call of the file system (proof scenarios 26, 31 to 33, 36).
struct EngineCrashTests {
    private static var options: EngineOptions {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.blockBytes = 128
        options.maxTableBytes = 600
        options.level0MergeTables = 2
        options.level1Bytes = 1_500
        options.levelRatio = 2
        options.mergeSliceBytes = 500
        return options
    }

    /// Overwrites and deletes, with flushes and merges in between; stops at the first error.
    private static func workload(_ engine: Engine, _ log: inout TestLog, rounds: Int = 6) throws {
        for round in 0..<rounds {
            for number in 0..<8 {
                try log.put("key\(number * (round + 1) % 23)", "value \(round) \(number)")
                if number % 3 == 0 { try log.delete("key\((number + round * 5) % 23)") }
            }
            try log.bringUp(engine)
            try engine.flush()
        }
    }

    @Test(arguments: MemoryFileSystem.Keep.allCases)
    func crashAfterEveryCall(keep: MemoryFileSystem.Keep) throws {
        for seed in seeds(keep == .random ? 4 : 1) {
            var random = SeededGenerator(seed)
            var calls = 0
            while try crash(after: calls, keep, &random) { calls += 1 }
            #expect(calls > 100, "the workload is too short to mean anything")
            print("engine crash test, \(keep), seed \(seed): \(calls) crash points")
        }
    }

    /// - Returns: whether the crash point was reached.
    private func crash(
        after calls: Int, _ keep: MemoryFileSystem.Keep, _ random: inout SeededGenerator
    ) throws -> Bool {
        let fileSystem = MemoryFileSystem()
        var log = TestLog()
        var acknowledged: LogIndex = 0
        fileSystem.crashAfter(calls: calls)
        do {
            let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
            defer { acknowledged = engine.flushed.index }
            try Self.workload(engine, &log)
        } catch let error as StorageError {
            try #require(fileSystem.hasReachedCrashPoint, "an error without a crash: \(error)")
        }
        let wasReached = fileSystem.hasReachedCrashPoint
        fileSystem.crash(keep: keep, using: &random)
        // A second crash, somewhere in the recovery from the first.
        fileSystem.crashAfter(calls: Int.random(in: 0..<12, using: &random))
        _ = try? Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
        fileSystem.crash(keep: keep, using: &random)

        try expectRecovery(of: log, acknowledged, from: fileSystem, "crash after \(calls) calls, keep \(keep)")
        return wasReached
    }

    /// The process dies at every call, which loses nothing but leaves changes that are not durable yet; then the power
    /// fails at every call of the next start. Whatever a start takes for granted or removes must be durable by then.
    @Test func powerLossAfterAKilledProcess() throws {
        var random = SeededGenerator(1)
        var kills = 0
        var losses = 0
        while true {
            let fileSystem = MemoryFileSystem()
            var log = TestLog()
            var acknowledged: LogIndex = 0
            fileSystem.crashAfter(calls: kills)
            do {
                let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
                defer { acknowledged = engine.flushed.index }
                try Self.workload(engine, &log, rounds: 4)
            } catch let error as StorageError {
                try #require(fileSystem.hasReachedCrashPoint, "an error without a crash: \(error)")
            }
            guard fileSystem.hasReachedCrashPoint else { break }
            var calls = 0
            var isStarting = true
            while isStarting {
                let copy = fileSystem.copy()
                copy.crashAfter(calls: calls)
                _ = try? Engine.open(directory: "/db", fileSystem: copy, options: Self.options)
                isStarting = copy.hasReachedCrashPoint
                copy.crash(keep: .none, using: &random)
                try expectRecovery(
                    of: log, acknowledged, from: copy, "killed after \(kills) calls, power lost \(calls) calls later")
                calls += 1
            }
            losses += calls
            kills += 1
        }
        #expect(kills > 80 && losses > 10 * kills, "the workload is too short to mean anything")
        print("engine crash test, killed process: \(kills) kills, \(losses) power losses")
    }

    /// Opens what a crash left, and brings it up to the end of the log again.
    private func expectRecovery(
        of log: TestLog, _ acknowledged: LogIndex, from fileSystem: MemoryFileSystem, _ comment: Comment
    ) throws {
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
        try #require(engine.flushed.index >= acknowledged, comment)
        try #require(engine.flushed.index <= LogIndex(log.entries.count), comment)
        if engine.flushed.index > 0 {
            try #require(engine.flushed.term == log.entries[Int(engine.flushed.index) - 1].term, comment)
        }
        // What the tables hold is the state at their index, neither more nor less.
        var model = Model()
        for entry in log.entries.prefix(Int(engine.flushed.index)) { try model.apply(entry) }
        try expectEqual(engine, model, comment)
        try log.bringUp(engine)
        try expectEqual(engine, log.model, comment)
        try engine.flush()
        try expectEqual(engine, log.model, comment)
        try expectNoOrphans(engine, fileSystem, comment)
    }

    private func expectNoOrphans(_ engine: Engine, _ fileSystem: MemoryFileSystem, _ comment: Comment) throws {
        let names = try fileSystem.list("/db")
        try #require(names.filter { $0.hasSuffix(".sst") }.count == engine.statistics.tableCount, comment)
        try #require(names.filter { $0.hasPrefix("MANIFEST") }.count == 1, comment)
        try #require(!names.contains("CURRENT.tmp"), comment)
    }

    /// A full disk fails the job and leaves nothing behind; with room again the same job succeeds.
    @Test func fullDiskIsSurvived() throws {
        var refused = 0
        for room in stride(from: 0, through: 6_000, by: 50) {
            let fileSystem = MemoryFileSystem()
            var log = TestLog()
            let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
            try Self.workload(engine, &log)
            fileSystem.capacity = fileSystem.usedBytes + room
            for number in 0..<40 { try log.put("key\(number % 23)", "value \(number)") }
            try log.bringUp(engine)
            do {
                try engine.flush()
            } catch let error as StorageError {
                guard case .full = error else { throw error }
                refused += 1
            }
            try expectEqual(engine, log.model)
            fileSystem.capacity = .max
            try engine.runJobs()
            try expectEqual(engine, log.model)
            try expectNoOrphans(engine, fileSystem, "room \(room)")
            let reopened = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
            #expect(reopened.flushed.index == LogIndex(log.entries.count))
            try expectEqual(reopened, log.model)
        }
        #expect(refused > 10)
    }

    /// Any one failed call stops the job with an error; a restart is correct.
    @Test func everyFailedCallIsReported() throws {
        var call = 0
        while true {
            let fileSystem = MemoryFileSystem()
            var log = TestLog()
            let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
            let before = fileSystem.callCount
            fileSystem.failCall(after: call, code: 5)
            var failed = false
            do {
                try Self.workload(engine, &log)
            } catch is StorageError {
                failed = true
            }
            let used = fileSystem.callCount - before
            if used <= call { break }
            try #require(failed, "call \(call) failed unnoticed")
            var random = SeededGenerator(UInt64(call))
            fileSystem.crash(keep: .random, using: &random)
            let reopened = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
            try log.bringUp(reopened)
            try expectEqual(reopened, log.model, "call \(call)")
            call += 1
        }
        #expect(call > 100)
    }
}
