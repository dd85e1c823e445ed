import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Runs a ``ModelPlan`` on an engine with options of its own, as a node would: the log outlives the engine, and after a
/// crash it is applied again from where the tables end.
struct ModelRun {
    /// What the engine is about when a call of the file system fails.
    private enum Phase {
        case start, read, flush, merge, install
    }

    private static let directory = "/db"
    private static let never = 1 << 40

    private let plan: ModelPlan
    private let options: EngineOptions
    private(set) var covered = ModelCoverage()
    private var random: SeededGenerator
    private var fileSystem = MemoryFileSystem()
    private var engine: Engine?
    private var views = [EngineView?](repeating: nil, count: ModelPlan.viewSlots)
    /// Up to where the log was applied.
    private var written: LogIndex = 0
    /// What the tables were seen to hold: no crash may take it back.
    private var acknowledged: LogIndex = 0
    private var phase = Phase.start
    private var keep = MemoryFileSystem.Keep.none

    init(_ plan: ModelPlan, _ options: EngineOptions, seed: UInt64) throws {
        self.plan = plan
        self.options = options
        random = SeededGenerator(seed)
        try open()
    }

    /// - Returns: what the operation has to say; nil also if a crash or a new start took the view that it reads.
    mutating func execute(_ operation: ModelOperation) throws -> ModelAnswer? {
        do {
            return try attempt(operation)
        } catch let error as StorageError where fileSystem.hasReachedCrashPoint {
            return try recover(from: error, in: operation)
        } catch SnapshotError.storage(let error) where fileSystem.hasReachedCrashPoint {
            return try recover(from: error, in: operation)
        }
    }

    private mutating func attempt(_ operation: ModelOperation) throws -> ModelAnswer? {
        let engine = engine!
        phase = .read
        switch operation {
        case .write(let index): try write(upTo: index, engine)
        case .get(let key): return .value(try Self.get(key, engine.view()))
        case .range(let start, let end, let limit, let maxBytes, let isReversed):
            let page =
                isReversed
                ? try engine.view().reverseRange(from: start, to: end, limit: limit, maxBytes: maxBytes)
                : try Self.range(engine.view(), start, end, limit, maxBytes)
            if page.next != nil { covered[isReversed ? .reversePages : .pages] += 1 }
            return .page(page)
        case .walk(let start, let steps): return .walk(try walk(engine.view(), start, steps))
        case .stateHash: return .hash(try engine.view().stateHash())
        case .openView(let slot): views[slot] = engine.view()
        case .readView(let slot, let key, let isReversed):
            guard let view = views[slot] else { return nil }
            if view.index < engine.appliedIndex { covered[.viewsRead] += 1 }
            return .view(
                items: isReversed ? try view.reversedItems(limit: 7) : try view.items(limit: 7),
                value: try Self.get(key, view))
        case .releaseView(let slot):
            if views[slot] != nil { covered[.viewsReleased] += 1 }
            views[slot] = nil
        case .flush: engine.requestFlush()
        case .work(let jobs): for _ in 0..<jobs where try runJob(engine) {}
        case .compact: try compact(engine)
        case .sweep(let isAskedFor, let jobs):
            isAskedFor ? engine.requestMerge() : engine.requestSpace()
            for _ in 0..<jobs where try runJob(engine) {}
            if engine.statistics.isSweeping { covered[.sweepsCutShort] += 1 }
        case .fullDisk(let room): try fillDisk(room, engine)
        case .snapshot(let chunkBytes, let crashAfter, let keep):
            try takeSnapshot(of: engine, chunkBytes: chunkBytes, crashAfter: crashAfter, keep)
        case .reopen:
            covered[.reopened] += 1
            try open()
        case .crash(let calls, let keep):
            self.keep = keep
            fileSystem.crashAfter(calls: calls)
            engine.requestFlush()
            while try runJob(engine) {}
        }
        return nil
    }

    /// The last crash point is passed or taken away; the engine holds what the whole log says.
    mutating func finish() throws {
        fileSystem.crashAfter(calls: Self.never)
        try expectEqual(engine!, plan.log.model)
        try open()
        try expectEqual(engine!, plan.log.model)
        try clear(engine!)
    }

    /// Where everything is deleted, the tables go by themselves, however the keys were written and wherever they lie.
    private mutating func clear(_ engine: Engine) throws {
        views = Array(repeating: nil, count: views.count)
        if plan.isClearedAfterMerges { try compact(engine) }
        var log = plan.log
        try log.deleteEverything()
        try log.bringUp(engine)
        while try runJob(engine) {}
        try expectEqual(engine, log.model)
        let left = engine.statistics.tableBytes
        if left > 0 { covered[.leftAfterClearing] += 1 }
        try #require(
            plan.hasLargeValues || left <= Self.leftBytes,
            "\(left) bytes in tables without a key: \(engine.statistics.levels.map(\.bytes))")
        // Whoever asks for it gets the rest: no tombstone is left.
        engine.requestMerge()
        while try runJob(engine) {}
        try expectEqual(engine, log.model)
        let rest = engine.statistics.levels
        try #require(rest.allSatisfy { $0.tombstones == 0 }, "\(rest)")
        try #require(rest.reduce(0) { $0 + $1.entries } <= 1, "\(rest)")
        if engine.statistics.work.mergesByCause[.tombstones] ?? 0 > 0 { covered[.reclaimed] += 1 }
    }

    /// What a few tombstones may leave that nobody has asked to remove.
    private static let leftBytes: UInt64 = 6_000

    // MARK: Writes

    /// As a node does it: while the engine is stalled, nothing is applied.
    private mutating func write(upTo index: LogIndex, _ engine: Engine) throws {
        written = index
        if engine.isStalled {
            let isLevel0 = engine.statistics.levels[0].tables >= options.level0StallTables
            covered[isLevel0 ? .level0Stalls : .memtableStalls] += 1
        }
        while engine.isStalled { try #require(try runJob(engine), "stalled, but nothing to do") }
        _ = try engine.apply(Array(plan.log.entries[Int(engine.appliedIndex)..<Int(index)]))
        try #require(engine.appliedIndex == index)
    }

    // MARK: Reads

    private static func get(_ key: [UInt8], _ view: EngineView) throws -> StoredValue? {
        guard case .value(let value) = try view.execute(.get(key: key)) else {
            preconditionFailure("a get is answered by a value")
        }
        return value
    }

    private static func range(
        _ view: EngineView, _ start: [UInt8], _ end: [UInt8], _ limit: Int, _ maxBytes: Int
    ) throws -> RangePage {
        let query = Query.range(start: start, end: end, limit: limit, maxBytes: maxBytes)
        guard case .page(let page) = try view.execute(query) else {
            preconditionFailure("a range is answered by a page")
        }
        return page
    }

    private mutating func walk(_ view: EngineView, _ start: [UInt8], _ steps: [Bool]) throws -> [RangePage.Item?] {
        let cursor = VisibleWalk(view)
        try cursor.seek(start)
        func item() -> RangePage.Item? { cursor.entry.map { RangePage.Item(key: $0.key, value: $0.value) } }
        var found = [item()]
        var isBack = false
        for step in steps where found.last! != nil {
            if step { try cursor.previous() } else { try cursor.next() }
            found.append(item())
            if step != isBack { covered[.turns] += 1 }
            isBack = step
        }
        return found
    }

    // MARK: Background work

    /// - Returns: whether there was a job.
    private mutating func runJob(_ engine: Engine) throws -> Bool {
        let before = engine.statistics
        let manifest = manifestNumber
        guard let job = engine.takeBackgroundJob() else { return false }
        phase = before.sealedMemtables > 0 ? .flush : .merge
        let isDone = try job.runIfThereIsRoom()
        phase = .read
        guard isDone else {
            covered[.postponed] += 1
            throw StorageError.full(path: Self.directory)
        }
        let after = engine.statistics
        acknowledged = engine.flushed.index
        if manifestNumber != manifest { covered[.manifestsRenewed] += 1 }
        if after.levels[2...].contains(where: { $0.tables > 0 }) { covered[.deepLevels] += 1 }
        if after.flushed != before.flushed {
            covered[.flushes] += 1
        } else if after.levels != before.levels {
            // Only a table that changes its level as it is leaves number and bytes of all tables as they were.
            let isMove = after.tableCount == before.tableCount && after.tableBytes == before.tableBytes
            covered[isMove ? .moves : .merges] += 1
        }
        return true
    }

    /// Read from CURRENT, which costs none of the calls that a crash waits for.
    private var manifestNumber: [UInt8] {
        Array(fileSystem.contents(of: Self.directory + "/CURRENT")![12..<20])
    }

    private mutating func compact(_ engine: Engine) throws {
        engine.requestFlush()
        while try runJob(engine) {}
        // Each key that was deleted since the last snapshot came in had a tombstone when it was flushed.
        var deleted: Set<[UInt8]> = []
        for entry in plan.log.entries[Int(engine.installedIndex)..<Int(engine.flushed.index)]
        where entry.kind == .command {
            _ = try Command.forEachOperation(in: entry.payload) { _, key, value in
                if value == nil { deleted.insert(Array(key)) } else { deleted.remove(Array(key)) }
            }
        }
        for run in engine.view().runs().dropFirst() {
            let first = SearchKey.first()
            try run.seek(first.bytes)
            while let entry = run.entry {
                if entry.key.last == 2 { deleted.remove(Array(entry.key.dropFirst().dropLast(13))) }
                try run.next()
            }
        }
        covered[.tombstonesDropped] += deleted.count
    }

    private mutating func fillDisk(_ room: Int, _ engine: Engine) throws {
        engine.requestFlush()
        fileSystem.capacity = fileSystem.usedBytes + room
        defer { fileSystem.capacity = .max }
        do {
            while try runJob(engine) {}
        } catch StorageError.full {
            covered[.fullDisks] += 1
        }
        fileSystem.capacity = .max
        while try runJob(engine) {}
    }

    private mutating func takeSnapshot(
        of engine: Engine, chunkBytes: Int, crashAfter: Int?, _ keep: MemoryFileSystem.Keep
    ) throws {
        let reader = engine.snapshotReader()
        let last = plan.log.entries[Int(reader.index) - 1]
        let chunks = try reader.chunks(targetBytes: chunkBytes)
        // Views of the old engine go on reading from its disk.
        fileSystem.crashAfter(calls: Self.never)
        fileSystem = MemoryFileSystem()
        acknowledged = 0
        let fresh = try Engine.open(directory: Self.directory, fileSystem: fileSystem, options: options)
        self.engine = fresh
        phase = .install
        self.keep = keep
        fileSystem.crashAfter(calls: crashAfter ?? Self.never)
        let writer = fresh.snapshotWriter(for: last.index)
        for chunk in chunks { try writer.append(chunk) }
        try fresh.install(writer, at: FlushedPosition(index: last.index, term: last.term))
        acknowledged = last.index
        covered[.snapshots] += 1
        try expectEqual(fresh, try plan.model(at: last.index))
    }

    // MARK: Starts and crashes

    /// Opens what is on the disk, which must be the state at the index that it names, and applies the rest of the log.
    private mutating func open() throws {
        if let engine { acknowledged = engine.flushed.index }
        engine = nil
        // They read through the old engine, and the new one removes what no manifest names.
        views = Array(repeating: nil, count: views.count)
        phase = .start
        let opened = try Engine.open(directory: Self.directory, fileSystem: fileSystem, options: options)
        engine = opened
        phase = .read
        let flushed = opened.flushed.index
        try #require(flushed >= acknowledged && flushed <= written, "\(acknowledged) ... \(written): \(flushed)")
        try expectEqual(opened, try plan.model(at: flushed))
        covered[.replayed] += Int(written - flushed)
        _ = try opened.apply(Array(plan.log.entries[Int(flushed)..<Int(written)]))
    }

    /// The power fails, sometimes once more during the start that follows. What was asked for is asked again.
    private mutating func recover(from error: StorageError, in operation: ModelOperation) throws -> ModelAnswer? {
        count(error)
        if let engine { acknowledged = max(acknowledged, engine.flushed.index) }
        engine = nil
        crash()
        if Int.random(in: 0..<3, using: &random) == 0 {
            fileSystem.crashAfter(calls: Int.random(in: 0...60, using: &random))
            phase = .start
            do {
                _ = try Engine.open(directory: Self.directory, fileSystem: fileSystem, options: options)
                // It went through, and only what it left unsynced may be lost.
            } catch  where fileSystem.hasReachedCrashPoint {
                count(error)
            }
            crash()
        }
        try open()
        switch operation {
        case .crash, .snapshot: return nil
        default: return try attempt(operation)
        }
    }

    private mutating func crash() {
        fileSystem.crash(keep: keep, using: &random)
        switch keep {
        case .none: covered[.keptNone] += 1
        case .random: covered[.keptSome] += 1
        case .all: covered[.keptAll] += 1
        }
    }

    /// Counts a crash by what was under way.
    private mutating func count(_ error: any Error) {
        if case StorageError.io(let operation, let path, _) = error {
            let isWritten = ["write", "sync", "rename"].contains(operation)
            // Between two starts edits are appended to the manifest: only a new one is opened.
            let isNew = phase == .start ? isWritten : operation == "open"
            if path.contains("CURRENT") && isWritten || path.contains("MANIFEST") && isNew {
                covered[.crashesInRenewal] += 1
            }
        }
        switch phase {
        case .start: covered[.crashesInStart] += 1
        case .read: covered[.crashesInRead] += 1
        case .flush: covered[.crashesInFlush] += 1
        case .merge: covered[.crashesInMerge] += 1
        case .install: covered[.crashesInInstall] += 1
        }
    }
}
