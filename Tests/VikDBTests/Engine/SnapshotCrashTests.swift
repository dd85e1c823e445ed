import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// A crash, a failed call or a full disk at every call while a snapshot is taken and installed: the old state or the
/// new one, never a mix (proof scenarios 26, 30, 33).
struct SnapshotCrashTests {
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

    /// What the snapshot holds: keys that the old state has as well, with other values, and others.
    private struct Snapshot {
        var log = TestLog()
        let chunks: [ByteBuffer]

        init(writes: Int = 150) throws {
            try log.append(ByteBuffer(string: "new members"), kind: .configuration)
            for number in 0..<writes { try log.put("key\(number * 7 % 120)", "new value \(number)") }
            for number in 0..<20 { try log.delete("key\(number * 3)") }
            let engine = try Engine.open(
                directory: "/db", fileSystem: MemoryFileSystem(), options: SnapshotCrashTests.options)
            try log.bringUp(engine)
            chunks = try engine.snapshotReader().chunks(targetBytes: 400)
        }
    }

    /// A node that has fallen behind: levels, a merge that is under way, a memtable.
    private final class Node {
        let fileSystem = MemoryFileSystem()
        var log = TestLog()
        var engine: Engine?

        init(rounds: Int = 4) throws {
            let engine = try Engine.open(
                directory: "/db", fileSystem: fileSystem, options: SnapshotCrashTests.options)
            try log.append(ByteBuffer(string: "old members"), kind: .configuration)
            for round in 0..<rounds {
                for number in 0..<30 { try log.put("key\(number * (round + 1) % 47)", "old value \(round)") }
                try log.bringUp(engine)
                engine.requestFlush()
                for _ in 0..<2 { try engine.takeBackgroundJob()?.run() }
            }
            try log.put("key1", "only in the memtable")
            try log.bringUp(engine)
            self.engine = engine
        }

        /// With a background job after every chunk.
        func take(_ snapshot: Snapshot) throws {
            let engine = engine!
            let writer = engine.snapshotWriter(for: snapshot.log.position.index)
            for chunk in snapshot.chunks {
                try writer.append(chunk)
                try engine.takeBackgroundJob()?.run()
            }
            try engine.install(writer, at: snapshot.log.position)
        }
    }

    private func open(_ fileSystem: MemoryFileSystem) throws -> Engine {
        try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
    }

    /// Opens what is left, which must be one of the two states, and lets the log go on.
    ///
    /// - Returns: whether it is the new one.
    @discardableResult
    private func expectOldOrNew(
        _ fileSystem: MemoryFileSystem, _ old: TestLog, _ snapshot: Snapshot, _ acknowledged: LogIndex,
        _ comment: Comment
    ) throws -> Bool {
        let engine = try open(fileSystem)
        try #require(engine.flushed.index >= acknowledged, comment)
        let isNew = engine.installedIndex > 0
        let log = isNew ? snapshot.log : old
        var model = Model()
        for entry in log.entries.prefix(Int(engine.flushed.index)) { try model.apply(entry) }
        try expectEqual(engine, model, comment)
        if isNew {
            try #require(engine.flushed == log.position && engine.installedIndex == log.position.index, comment)
        }
        try log.bringUp(engine)
        try engine.flush()
        try expectEqual(engine, log.model, comment)
        let names = try fileSystem.list("/db")
        try #require(names.filter { $0.hasSuffix(".sst") }.count == engine.statistics.tableCount, comment)
        return isNew
    }

    @Test(arguments: MemoryFileSystem.Keep.allCases)
    func crashAfterEveryCall(keep: MemoryFileSystem.Keep) throws {
        let snapshot = try Snapshot()
        for seed in seeds(keep == .random ? 4 : 1) {
            var random = SeededGenerator(seed)
            var outcomes: [Bool: Int] = [:]
            for calls in 0... {
                let node = try Node()
                node.fileSystem.crashAfter(calls: calls)
                var acknowledged: LogIndex = 0
                do {
                    try node.take(snapshot)
                    acknowledged = snapshot.log.position.index
                    try node.engine!.runJobs()
                } catch {
                    try #require(node.fileSystem.hasReachedCrashPoint, "an error without a crash: \(error)")
                }
                acknowledged = max(acknowledged, node.engine!.flushed.index)
                node.engine = nil
                let wasReached = node.fileSystem.hasReachedCrashPoint
                node.fileSystem.crash(keep: keep, using: &random)
                // A second crash, somewhere in the recovery from the first.
                node.fileSystem.crashAfter(calls: Int.random(in: 0..<20, using: &random))
                _ = try? open(node.fileSystem)
                node.fileSystem.crash(keep: keep, using: &random)
                let isNew = try expectOldOrNew(
                    node.fileSystem, node.log, snapshot, acknowledged,
                    "crash after \(calls) calls, keep \(keep), VIK_SEED=\(seed)")
                outcomes[isNew, default: 0] += 1
                if !wasReached { break }
            }
            let (old, new) = (outcomes[false, default: 0], outcomes[true, default: 0])
            print("snapshot crash test, \(keep), seed \(seed): \(old) old, \(new) new")
            #expect(old > 50 && new > 3)
        }
    }

    /// The process dies at every call; then the power fails at every call of the next start.
    @Test func powerLossAfterAKilledProcess() throws {
        // Small ones, since the number of runs goes with the square.
        let snapshot = try Snapshot(writes: 70)
        var random = SeededGenerator(1)
        var outcomes: [Bool: Int] = [:]
        for calls in 0... {
            let node = try Node(rounds: 2)
            node.fileSystem.crashAfter(calls: calls)
            let acknowledged = (try? node.take(snapshot)) == nil ? 0 : snapshot.log.position.index
            guard node.fileSystem.hasReachedCrashPoint else { break }
            let flushed = node.engine!.flushed.index
            var later = 0
            var isStarting = true
            while isStarting {
                let copy = node.fileSystem.copy()
                copy.crashAfter(calls: later)
                _ = try? open(copy)
                isStarting = copy.hasReachedCrashPoint
                copy.crash(keep: .none, using: &random)
                let isNew = try expectOldOrNew(
                    copy, node.log, snapshot, max(acknowledged, flushed),
                    "killed after \(calls) calls, power lost \(later) calls later")
                outcomes[isNew, default: 0] += 1
                later += 1
            }
        }
        let (old, new) = (outcomes[false, default: 0], outcomes[true, default: 0])
        print("snapshot crash test, killed process: \(old) old, \(new) new")
        #expect(old > 100 && new > 10)
    }

    /// Any one failed call: the old state goes on, until a restart finds the old or the new one.
    @Test func everyFailedCallIsReported() throws {
        let snapshot = try Snapshot()
        var failures = 0
        for call in 0... {
            let node = try Node()
            let before = node.fileSystem.callCount
            node.fileSystem.failCall(after: call, code: 5)
            var isInstalled = false
            do {
                try node.take(snapshot)
                isInstalled = true
            } catch {
                failures += 1
            }
            if node.fileSystem.callCount - before <= call { break }
            try expectEqual(node.engine!, isInstalled ? snapshot.log.model : node.log.model, "call \(call)")
            #expect(node.engine!.installedIndex == (isInstalled ? snapshot.log.position.index : 0))
            let acknowledged = node.engine!.flushed.index
            node.engine = nil
            var random = SeededGenerator(UInt64(call))
            node.fileSystem.crash(keep: .random, using: &random)
            try expectOldOrNew(node.fileSystem, node.log, snapshot, acknowledged, "call \(call)")
        }
        #expect(failures > 50)
    }

    /// A full disk refuses the snapshot and leaves nothing of it; with room again it can be taken anew.
    @Test func fullDiskIsSurvived() throws {
        let snapshot = try Snapshot()
        var refused = 0
        for room in stride(from: 0, through: 20_000, by: 200) {
            let node = try Node()
            let engine = node.engine!
            try engine.runJobs()
            node.fileSystem.capacity = node.fileSystem.usedBytes + room
            do {
                try node.take(snapshot)
            } catch SnapshotError.storage(.full), StorageError.full {
                refused += 1
                try expectEqual(engine, node.log.model, "room \(room)")
                node.fileSystem.capacity = .max
                try engine.runJobs()
                try node.take(snapshot)
            }
            node.fileSystem.capacity = .max
            try engine.runJobs()
            try expectEqual(engine, snapshot.log.model, "room \(room)")
            try expectOldOrNew(
                node.fileSystem, node.log, snapshot, snapshot.log.position.index, "room \(room)")
        }
        #expect(refused > 10)
    }
}
