import NIOCore
import Synchronization
import VikWire

/// The state machine's storage: memtables over tables, and the index up to which the log is applied to them.
///
/// Owns no threads. Committed entries are applied on the apply lane, background jobs run on the background lane, and
/// views, statistics and questions come from any thread. Each lane's state stands behind a mutex of its own, which
/// only that lane takes for long; what readers see is one reference behind a third, held for an assignment.
///
/// The tables know up to which entry they are complete (``flushed``); after a restart the log is applied from there.
/// So data and applied index cannot part.
package final class Engine: Sendable {
    /// The key in the system space that holds the newest configuration.
    static let configurationKey = Array("configuration".utf8)

    private struct Writer {
        var memtable: Memtable
        var applied: FlushedPosition
        /// Up to where entries lie in sealed memtables or tables.
        var sealedIndex: LogIndex
        /// Bytes of the log's entries after that.
        var unsealedLogBytes = 0
        /// Keys and values of commands, all that were applied since the engine was opened.
        var appliedBytes: UInt64 = 0
        /// Set when an entry could not be applied: nothing may follow it.
        var failure: StorageError?
    }

    private struct Published {
        var state: ReadState
        var isJobOut = false
        var isCompacting = false
        var isSweeping = false
        /// A sweep that was asked for and has not begun.
        var wantedSweep: MergeCause?
        /// What was applied when the last sweep for the sake of space began.
        var sweptIndex: LogIndex?
        /// Likewise of the last sweep, if it was asked for.
        var requestedIndex: LogIndex?
        /// Of the background lane.
        var work = EngineWork()
    }

    fileprivate let directory: String
    private let options: EngineOptions
    private let blocks: BlockCache
    private let tables: TableCache
    private let obsolete: ObsoleteTables
    private let files: TableFiles
    private let writer: Mutex<Writer>
    private let store: Mutex<TableStore>
    private let published: Mutex<Published>
    private let applied: Atomic<LogIndex>
    private let appliedBytes = Atomic<UInt64>(0)
    /// So many tombstones in a memtable make its flush due; see ``TableCatalog/tombstonesWorthAFlush(_:)``.
    private let tombstoneLimit = Atomic<Int>(.max)

    /// Opens the engine in `directory`, or begins an empty one there.
    package static func open(
        directory: String, fileSystem: any FileSystem, options: EngineOptions = EngineOptions()
    ) throws(StorageError) -> Engine {
        options.check()
        let blocks = BlockCache(bytes: options.blockCacheBytes)
        let tables = TableCache(maxTables: options.maxOpenTables, maxBytes: options.maxOpenTableBytes)
        let obsolete = ObsoleteTables()
        let store = try TableStore(
            directory: directory, fileSystem: fileSystem, options: options, blocks: blocks, tables: tables,
            obsolete: obsolete)
        return Engine(
            directory: directory, options: options, blocks: blocks, tables: tables, obsolete: obsolete, store: store)
    }

    private init(
        directory: String, options: EngineOptions, blocks: BlockCache, tables: TableCache, obsolete: ObsoleteTables,
        store: sending TableStore
    ) {
        self.directory = directory
        self.options = options
        self.blocks = blocks
        self.tables = tables
        self.obsolete = obsolete
        files = store.files
        let version = store.version
        let flushed = version.catalog.flushed
        let memtable = Memtable(capacity: options.memtableMaxBytes)
        writer = Mutex(Writer(memtable: memtable, applied: flushed, sealedIndex: flushed.index))
        published = Mutex(Published(state: ReadState(active: memtable, sealed: [], version: version)))
        applied = Atomic(flushed.index)
        tombstoneLimit.store(version.catalog.tombstonesWorthAFlush(options), ordering: .relaxed)
        self.store = Mutex(store)
    }

    // MARK: The apply lane

    /// Applies consecutive entries, the first of them `appliedIndex + 1`.
    ///
    /// - Returns: for each entry of kind command its result, for others nil.
    package func apply(_ entries: [Entry]) throws(StorageError) -> [CommandResult?] {
        try writer.withLock { writer throws(StorageError) in
            if let failure = writer.failure { throw failure }
            var results: [CommandResult?] = []
            results.reserveCapacity(entries.count)
            for entry in entries {
                precondition(entry.index == writer.applied.index + 1, "entries are applied one after another")
                do throws(StorageError) {
                    results.append(try apply(entry, &writer))
                } catch {
                    writer.failure = error
                    throw error
                }
                writer.applied = FlushedPosition(index: entry.index, term: entry.term)
                applied.store(entry.index, ordering: .releasing)
                writer.unsealedLogBytes += entry.bytes.readableBytes
                if writer.unsealedLogBytes >= options.maxUnflushedLogBytes {
                    seal(&writer, capacity: options.memtableMaxBytes)
                }
            }
            appliedBytes.store(writer.appliedBytes, ordering: .relaxed)
            return results
        }
    }

    /// Seals the memtable, so that the next job flushes it; at a clean end, when the log needs no replay then.
    package func requestFlush() {
        writer.withLock { writer in
            guard writer.applied.index > writer.sealedIndex, writer.failure == nil else { return }
            seal(&writer, capacity: options.memtableMaxBytes)
        }
    }

    private func apply(_ entry: Entry, _ writer: inout Writer) throws(StorageError) -> CommandResult? {
        let payload = entry.payload
        switch entry.kind {
        case .noOp:
            return nil
        case .configuration:
            let key = Self.configurationKey
            makeRoom(payloadBytes: key.count + payload.readableBytes, operations: 1, &writer)
            key.span.withUnsafeBytes { key in
                payload.withUnsafeReadableBytes { value in
                    writer.memtable.insert(.system, key, value, index: entry.index, ordinal: 0)
                }
            }
            return nil
        case .command:
            let announced: UInt32 = payload.getInteger(at: payload.readerIndex) ?? 0
            let operations = min(Int(announced), WireLimits.maxOperationsPerCommand)
            makeRoom(payloadBytes: payload.readableBytes, operations: operations, &writer)
            let memtable = writer.memtable
            do throws(WireError) {
                let count = try Command.forEachOperation(in: payload) { ordinal, key, value in
                    memtable.insert(.user, key, value, index: entry.index, ordinal: ordinal)
                }
                writer.appliedBytes += UInt64(Command.dataBytes(in: payload, operations: count))
                return .applied(operations: count)
            } catch {
                throw .incompatible(
                    path: directory, reason: "the command in log entry \(entry.index) cannot be applied: \(error)")
            }
        }
    }

    /// An entry goes into one memtable as a whole; one that is larger than a memtable gets its own.
    private func makeRoom(payloadBytes: Int, operations: Int, _ writer: inout Writer) {
        let room = Memtable.roomNeeded(payloadBytes: payloadBytes, operations: operations)
        guard !writer.memtable.hasRoom(for: room) else { return }
        seal(&writer, capacity: max(options.memtableMaxBytes, Memtable.capacity(forRoom: room)))
    }

    private func seal(_ writer: inout Writer, capacity: Int) {
        let memtable = Memtable(capacity: capacity)
        let full = writer.memtable
        let last = writer.applied
        writer.memtable = memtable
        // Without an entry since the last seal there is nothing to flush: the memtable is replaced by a larger one.
        let sealed = last.index > writer.sealedIndex ? [SealedMemtable(memtable: full, last: last)] : []
        writer.sealedIndex = last.index
        writer.unsealedLogBytes = 0
        published.withLock {
            $0.state = ReadState(active: memtable, sealed: $0.state.sealed + sealed, version: $0.state.version)
        }
    }

    // MARK: Any thread

    /// The last entry whose operations are all visible.
    package var appliedIndex: LogIndex { applied.load(ordering: .acquiring) }

    /// Up to which entry the tables hold everything; what a restart begins from.
    package var flushed: FlushedPosition { published.withLock { $0.state.version.catalog.flushed } }

    /// How far the background lane is behind at this moment.
    package var pressure: WritePressure {
        published.withLock {
            let level0 = $0.state.version.levels[0].count
            if $0.state.sealed.count >= options.maxSealedMemtables || level0 >= options.level0StallTables {
                return .stall
            }
            return level0 >= options.level0SlowdownTables ? .slowdown : .none
        }
    }

    /// Nothing should be applied now.
    package var isStalled: Bool { pressure == .stall }

    /// The state as of the applied index of this moment.
    package func view() -> EngineView {
        // Under the lock no memtable is sealed, so the state holds every entry up to the index read here.
        published.withLock { EngineView(index: applied.load(ordering: .acquiring), state: $0.state) }
    }

    /// The payload of the newest configuration entry applied, and its index.
    package func storedConfiguration() throws(StorageError) -> StoredValue? {
        try view().get(.system, Self.configurationKey)
    }

    package var statistics: EngineStatistics {
        var (state, work, isSweeping) = published.withLock {
            ($0.state, $0.work, $0.isSweeping || $0.wantedSweep != nil)
        }
        work.appliedBytes = appliedBytes.load(ordering: .relaxed)
        return EngineStatistics(
            appliedIndex: appliedIndex, flushed: state.version.catalog.flushed,
            memtableBytes: state.memtableBytes,
            sealedMemtables: state.sealed.count,
            levels: state.version.catalog.levels.map { level in
                EngineStatistics.Level(
                    tables: level.count, bytes: level.reduce(0) { $0 + $1.fileBytes },
                    entries: level.reduce(0) { $0 + $1.entries }, tombstones: level.reduce(0) { $0 + $1.tombstones })
            },
            blockCache: blocks.usage, openTables: tables.usage, work: work,
            isSweeping: isSweeping)
    }

    // MARK: Background jobs

    /// The next flush, or else merge, or else removal of files; nil if there is none, or one is out already.
    ///
    /// - Parameters:
    ///   - probesDisk: a file found no room: if there is nothing to do, whether one can be made is to be found out.
    ///   - reclaims: a small memtable may be sealed for the sake of its tombstones. Each time costs merges that are worth
    ///     more than it only if the tombstones hide what they are taken to hide, so whoever has a clock says how often.
    package func takeBackgroundJob(probesDisk: Bool = false, reclaims: Bool = true) -> BackgroundJob? {
        published.withLock { published in
            guard !published.isJobOut else { return nil }
            let kind: BackgroundJob.Kind
            // First, for a flush may have to wait for the room that it makes. Where there is room one that was asked for
            // waits for what is to be part of it, and for the end of the one before.
            if let cause = published.wantedSweep,
                cause == .space || probesDisk || published.state.sealed.isEmpty && !published.isSweeping
            {
                published.wantedSweep = nil
                kind = .beginSweep(cause)
            } else if let oldest = published.state.sealed.first {
                kind = .flush(oldest)
            } else if reclaims, hidesMuch(published.state.active) {
                kind = .sealTombstones
            } else if published.isCompacting || published.isSweeping || published.state.version.plan != nil {
                kind = .merge
            } else if !obsolete.isEmpty {
                kind = .removeFiles
            } else if probesDisk {
                kind = .probe
            } else {
                return nil
            }
            published.isJobOut = true
            return BackgroundJob(engine: self, kind: kind)
        }
    }

    /// Asks for a sweep: a flush, and merges until no key has more than its newest version in the tables, and no
    /// tombstone is left. What finds no room on the disk is left out. Any thread.
    package func requestMerge() {
        published.withLock { published in
            // What is under way has everything, or will begin with it.
            guard published.wantedSweep != .request, !(published.isSweeping && published.requestedIndex == appliedIndex)
            else { return }
            published.wantedSweep = .request
        }
    }

    /// Whether a flush of a memtable is worth it for its tombstones, however few bytes it has.
    private func hidesMuch(_ memtable: Memtable) -> Bool {
        memtable.tombstones >= tombstoneLimit.load(ordering: .relaxed)
    }

    /// Seals a memtable of few bytes that hides many, unless another one waits for its flush by now.
    private func sealTombstones() {
        writer.withLock { writer in
            guard writer.failure == nil, hidesMuch(writer.memtable), published.withLock({ $0.state.sealed.isEmpty })
            else { return }
            seal(&writer, capacity: options.memtableMaxBytes)
        }
    }

    /// The disk is short: asks for the same, unless nothing was applied since it was asked for last. Any thread.
    package func requestSpace() {
        published.withLock { published in
            guard !published.isSweeping, published.wantedSweep == nil, published.sweptIndex != appliedIndex else {
                return
            }
            published.wantedSweep = .space
        }
    }

    /// - Returns: false: what is due finds no room on the disk.
    fileprivate func run(_ kind: BackgroundJob.Kind) throws(StorageError) -> Bool {
        defer { published.withLock { $0.isJobOut = false } }
        if case .sealTombstones = kind {
            sealTombstones()
            return true
        }
        if case .beginSweep(let cause) = kind {
            let isFlushWaiting = published.withLock { published in
                let isFlushWaiting = !published.state.sealed.isEmpty
                published.sweptIndex = isFlushWaiting ? nil : appliedIndex
                published.requestedIndex = cause == .request && !isFlushWaiting ? appliedIndex : nil
                return isFlushWaiting
            }
            if !isFlushWaiting { requestFlush() }
            store.withLock { store in
                store.beginSweep(cause)
                publish(store)
            }
            return true
        }
        return try store.withLock { store throws(StorageError) in
            // Also after an error: a merge that failed is not in progress any more.
            defer { publish(store) }
            // Before every job, so that files also go while one job follows another.
            try store.removeObsolete()
            switch kind {
            case .flush(let sealed):
                do throws(StorageError) {
                    try store.flush(sealed)
                } catch {
                    // A merge may make the room that a flush lacks.
                    if case .full = error { try store.mergeWhatFits() }
                    throw error
                }
            case .merge: return try store.mergeSlice()
            case .probe: try store.files.probe()
            case .beginSweep, .sealTombstones, .removeFiles: break
            }
            return true
        }
    }

    // MARK: Snapshots

    /// Reads the state as of the applied index of this moment, which stays as it is until the reader is released. Any
    /// thread.
    package func snapshotReader() -> SnapshotReader {
        SnapshotReader(view())
    }

    /// Hashes the state as of the applied index of this moment. Any thread.
    package func stateHasher() -> StateHasher {
        StateHasher(view())
    }

    /// Takes a snapshot of `index` that comes from elsewhere. Any thread; the first record creates the first file.
    package func snapshotWriter(for index: LogIndex) -> SnapshotWriter {
        SnapshotWriter(index: index, TableRun(files, maxTableBytes: options.maxTableBytes))
    }

    /// The index of the last snapshot that was installed, 0 if none was. Equal to the index of ``flushed`` until the
    /// next flush. Any thread.
    package var installedIndex: LogIndex { published.withLock { $0.state.version.catalog.installed } }

    /// Replaces everything by the snapshot that `snapshot` has taken, with one edit of the manifest: a crash leaves the
    /// old state or the new one. Views opened before go on showing the old one.
    ///
    /// Runs on the background lane, while nothing is applied and no job is out; no entry up to `position` is applied
    /// after it. After an error the engine goes on with the old state, as ``BackgroundJob`` says; the snapshot is lost
    /// and a restart may find the new state.
    package func install(_ snapshot: SnapshotWriter, at position: FlushedPosition) throws(StorageError) {
        precondition(snapshot.index == position.index, "a snapshot is installed at its own index")
        published.withLock {
            precondition(!$0.isJobOut, "no job is out while a snapshot is installed")
            $0.isJobOut = true
        }
        defer { published.withLock { $0.isJobOut = false } }
        try writer.withLock { writer throws(StorageError) in
            if let failure = writer.failure { throw failure }
            precondition(position.index >= writer.applied.index, "a snapshot never takes the state back")
            let version = try store.withLock { store throws(StorageError) in
                try store.removeObsolete()
                try store.install(snapshot, at: position)
                return store.version
            }
            let memtable = Memtable(capacity: options.memtableMaxBytes)
            writer = Writer(
                memtable: memtable, applied: position, sealedIndex: position.index, appliedBytes: writer.appliedBytes)
            let previous = published.withLock { published in
                let previous = published.state
                published.state = ReadState(active: memtable, sealed: [], version: version)
                published.isCompacting = false
                published.isSweeping = false
                // Under the lock, so that no view bounds the new state by the old index.
                applied.store(position.index, ordering: .releasing)
                return previous
            }
            tombstoneLimit.store(version.catalog.tombstonesWorthAFlush(options), ordering: .relaxed)
            withExtendedLifetime(previous) {}
        }
    }

    private func publish(_ store: TableStore) {
        let previous = published.withLock { published in
            let previous = published.state
            let waiting = previous.sealed.drop { $0.last.index <= store.version.catalog.flushed.index }
            published.state = ReadState(active: previous.active, sealed: Array(waiting), version: store.version)
            published.isCompacting = store.isCompacting
            published.isSweeping = store.isSweeping
            published.work = store.work
            return previous
        }
        tombstoneLimit.store(store.version.catalog.tombstonesWorthAFlush(options), ordering: .relaxed)
        // Let go of here and not under the lock: a memtable's memory takes a while to give back.
        withExtendedLifetime(previous) {}
    }
}

/// One piece of work for the background lane, which installs its own result. The taker runs it, once; only then is
/// there a next one.
///
/// An error means that nothing was changed. After ``StorageError/full`` the engine still answers reads, and the job can
/// be taken again; after any other error, above all a failed sync, the node stops.
package struct BackgroundJob: Sendable {
    enum Kind {
        case flush(SealedMemtable)
        case sealTombstones
        case beginSweep(MergeCause)
        case merge
        case removeFiles
        case probe
    }

    fileprivate let engine: Engine
    fileprivate let kind: Kind

    /// Whether it tries the disk for room.
    package var writesFiles: Bool {
        switch kind {
        case .flush, .merge, .probe: true
        case .beginSweep, .sealTombstones, .removeFiles: false
        }
    }

    /// Whether it brings about a flush, and merges, for the sake of tombstones alone.
    package var reclaims: Bool {
        if case .sealTombstones = kind { true } else { false }
    }

    /// - Returns: false: what is due finds no room on the disk, and was not begun.
    package func runIfThereIsRoom() throws(StorageError) -> Bool {
        try engine.run(kind)
    }

    /// The same, with an error where there is no room.
    package func run() throws(StorageError) {
        guard try runIfThereIsRoom() else { throw .full(path: engine.directory) }
    }
}
