import FoundationEssentials
import Glibc
import NIOCore
import Synchronization
import VikDB
import VikWire

/// Log and engine as a node has them, without the node: what is written goes into the log and then into the engine on
/// the thread that calls, flushes and merges run on one thread in the background. Any thread.
///
/// Threads that write at the same time form groups: whoever has its turn writes for all that wait, with one record and
/// one fdatasync. A group is bounded by the threads, each of which waits for its own write.
final class LocalStore: Sendable {
    private static let term: Term = 1
    private static let replayBytes = 4 << 20
    /// How long a stalled writer, and who waits for the background, sleeps before it looks again.
    private static let stallMicroseconds: UInt32 = 100
    /// While slowed down, a writer sleeps so long for so many bytes, which is a node's 16 MiB a second.
    private static let slowdownMicroseconds: UInt32 = 1_000
    private static let slowdownBytes = 16 << 10

    private struct Queue {
        var commands: [ByteBuffer] = []
        /// All that ever joined.
        var joined = 0
    }

    private struct Writer {
        var lastIndex: LogIndex
        /// Of those that joined, how many are written.
        var written = 0
        var failure: StorageError?
        /// Of what was written, bytes that a slowdown has yet to sleep for.
        var unpaidBytes = 0
        var heldBack = HeldBack()
        /// The group being written; kept for its capacity.
        var group: [ByteBuffer] = []
    }

    private enum Background {
        case idle
        case running
        case failed(StorageError)
    }

    private let files: CountingFileSystem
    private let log: LogStore
    private let engine: Engine
    private let executor = ThreadExecutor()
    private let queue = Mutex(Queue())
    private let writer: Mutex<Writer>
    private let background = Mutex(Background.idle)

    /// Opens what is in `directory`, or begins an empty store there.
    static func open(in directory: String, _ options: EngineOptions) throws(StorageError) -> LocalStore {
        let files = CountingFileSystem(logDirectory: logDirectory(directory))
        let recovered = try RecoveredNode.open(
            logDirectory: logDirectory(directory), tableDirectory: tableDirectory(directory), fileSystem: files,
            logOptions: LogOptions(), engineOptions: options)
        if recovered.state.hardState.term < Self.term { try recovered.log.save(HardState(term: Self.term)) }
        let store = LocalStore(files, recovered)
        try store.replay()
        return store
    }

    /// Removes what `open` made in `directory`, and nothing else.
    static func remove(from directory: String) throws {
        for path in [logDirectory(directory), tableDirectory(directory)] where access(path, F_OK) == 0 {
            try FileManager.default.removeItem(atPath: path)
        }
    }

    // Names that no node's directories have by chance.
    private static func logDirectory(_ directory: String) -> String { directory + "/vikbench-log" }
    private static func tableDirectory(_ directory: String) -> String { directory + "/vikbench-tables" }

    private init(_ files: CountingFileSystem, _ recovered: RecoveredNode) {
        self.files = files
        log = recovered.log
        engine = recovered.engine
        writer = Mutex(Writer(lastIndex: recovered.state.lastIndex))
    }

    /// Applies what only the log holds, and flushes it, as RocksDB does when it opens.
    private func replay() throws(StorageError) {
        let last = writer.withLock(\.lastIndex)
        while engine.appliedIndex < last {
            try waitWhileStalled()
            let first = engine.appliedIndex + 1
            _ = try engine.apply(try log.read(from: first, through: last, maxBytes: Self.replayBytes))
            try startBackgroundJob()
        }
        engine.requestFlush()
        try settle()
    }

    /// Ends the threads and the log. Nobody uses the store any more.
    func close() throws(StorageError) {
        executor.shutdown()
        try log.close()
    }

    // MARK: Writing

    /// Returns once the command is in the log, durable there if `isSynced`, and applied.
    func write(_ command: ByteBuffer, isSynced: Bool) throws(StorageError) {
        let place = queue.withLock { queue in
            queue.commands.append(command)
            queue.joined += 1
            return queue.joined
        }
        try writer.withLock { writer throws(StorageError) in
            if let failure = writer.failure { throw failure }
            // Another thread's group may have had this command.
            guard writer.written < place else { return }
            do throws(StorageError) {
                try writeGroup(&writer, isSynced: isSynced)
            } catch {
                writer.failure = error
                throw error
            }
        }
    }

    private func writeGroup(_ writer: inout Writer, isSynced: Bool) throws(StorageError) {
        try waitForBackground(&writer)
        writer.group.removeAll(keepingCapacity: true)
        queue.withLock { swap(&$0.commands, &writer.group) }
        let entries = Entry.batch(
            from: writer.lastIndex + 1, term: Self.term, kind: .command, payloads: writer.group)
        writer.unpaidBytes += writer.group.reduce(0) { $0 + $1.readableBytes }
        try log.append(entries)
        if isSynced { try log.sync() }
        _ = try engine.apply(entries)
        writer.lastIndex += UInt64(entries.count)
        writer.written += entries.count
        try startBackgroundJob()
    }

    private func waitWhileStalled() throws(StorageError) {
        while engine.isStalled {
            try startBackgroundJob()
            usleep(Self.stallMicroseconds)
        }
    }

    /// Waits while the engine is stalled, and for what was written before while it asks for a slowdown.
    private func waitForBackground(_ writer: inout Writer) throws(StorageError) {
        while true {
            switch engine.pressure {
            case .none:
                writer.unpaidBytes = 0
                return
            case .slowdown:
                guard writer.unpaidBytes >= Self.slowdownBytes else { return }
                writer.heldBack.slowed += Self.sleep(Self.slowdownMicroseconds)
                writer.unpaidBytes -= Self.slowdownBytes
            case .stall:
                writer.heldBack.stalled += Self.sleep(Self.stallMicroseconds)
            }
            try startBackgroundJob()
        }
    }

    /// - Returns: nanoseconds that it took.
    private static func sleep(_ microseconds: UInt32) -> UInt64 {
        let start = MonotonicClock.nanoseconds
        usleep(microseconds)
        return MonotonicClock.nanoseconds - start
    }

    // MARK: Background

    /// Starts the next job, if there is one and none is running. One thread at a time.
    private func startBackgroundJob() throws(StorageError) {
        let isIdle = try background.withLock { background throws(StorageError) in
            switch background {
            case .idle: return true
            case .running: return false
            case .failed(let error): throw error
            }
        }
        guard isIdle, let job = engine.takeBackgroundJob() else { return }
        // As the node does: of what is flushed the log needs nothing.
        log.allowDiscard(through: engine.flushed.index)
        background.withLock { $0 = .running }
        executor.submit(.background) { [self] in
            let outcome: Background
            do throws(StorageError) {
                try job.run()
                try log.removeDiscarded()
                outcome = .idle
            } catch {
                outcome = .failed(error)
            }
            background.withLock { $0 = outcome }
        }
    }

    /// Waits until all flushes and merges that are due are done. Nobody writes meanwhile.
    func settle() throws(StorageError) {
        while true {
            try startBackgroundJob()
            if case .idle = background.withLock({ $0 }) { return }
            usleep(Self.stallMicroseconds)
        }
    }

    // MARK: Reading

    func view() -> EngineView { engine.view() }

    /// For how long writers were held back since the store was opened.
    var heldBack: HeldBack { writer.withLock(\.heldBack) }

    /// Bytes written to log and tables since the store was opened.
    var written: (log: Int, tables: Int) { files.written }

    /// Bytes that the files take.
    var size: (log: Int, tables: Int) {
        (Int(log.bytesOnDisk), Int(engine.statistics.tableBytes))
    }
}

/// Nanoseconds that writers slept because flushes and merges were behind. A plain value.
struct HeldBack: Sendable {
    var slowed: UInt64 = 0
    var stalled: UInt64 = 0
}
