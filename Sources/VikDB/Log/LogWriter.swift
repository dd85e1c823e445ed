import Glibc
import NIOCore
import VikWire

/// The end of the log where records are added, and the hard state; on the log lane.
///
/// The first failure that leaves open what is on disk is final: every later call throws it again, because a failed
/// write or fdatasync must not be tried again as if nothing had happened.
struct LogWriter: Sendable {
    /// Records are gathered up to this many bytes, then written; beyond it only a single larger record.
    private static let maxBufferedBytes = 4 << 20

    private let directory: String
    private let fileSystem: any FileSystem
    private let options: LogOptions
    private let catalog: LogCatalog

    private var segment: LogSegment
    private var file: any File
    private var hardState: HardStateFile
    /// Where the written records of the segment end.
    private var end: UInt32
    /// Everything before this place is durable.
    private var durable: LogPosition
    private var hasEndMark: Bool
    private var failure: StorageError?
    /// The next segment found no room: the log is as it was.
    private var isWithoutRoom = false
    /// Entries through this one are no longer needed. Those before the log's base are gone already.
    private var discardable: LogIndex = 0
    /// Records on their way into one write, and what the catalog will know of them; kept for their capacity.
    private var buffer = ByteBuffer()
    private var gathered: [LogCatalog.Record] = []
    /// Of records, since the log was opened.
    private(set) var writtenBytes: UInt64 = 0

    /// Continues a segment all of whose records, up to `end`, are durable.
    init(
        directory: String, fileSystem: any FileSystem, options: LogOptions, catalog: LogCatalog, segment: LogSegment,
        file: any File, end: UInt32, hasEndMark: Bool, hardState: HardStateFile
    ) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.options = options
        self.catalog = catalog
        self.segment = segment
        self.file = file
        self.end = end
        self.hasEndMark = hasEndMark
        self.hardState = hardState
        durable = LogPosition(segment: segment.number, offset: end)
    }

    private var position: LogPosition { LogPosition(segment: segment.number, offset: end) }

    // MARK: Calls of the store

    mutating func append(_ entries: [Entry]) throws(StorageError) {
        try checkUsable()
        guard let first = entries.first else { return }
        precondition(
            first.index > segment.base.index && first.index <= catalog.lastIndex + 1,
            "entries follow the log or supersede a part of it")
        try finally { writer throws(StorageError) in try writer.write(entries) }
    }

    mutating func sync() throws(StorageError) {
        try checkUsable()
        try finally { writer throws(StorageError) in try writer.syncSegment() }
    }

    mutating func save(_ state: HardState) throws(StorageError) {
        try checkUsable()
        try finally { writer throws(StorageError) in
            try writer.hardState.save(state, logDurable: writer.durable)
        }
    }

    mutating func allowDiscard(through index: LogIndex) {
        discardable = max(discardable, index)
    }

    /// Lets the log go on after `index`, in a new segment that needs none before it.
    mutating func reset(toFollow index: LogIndex, term: Term) throws(StorageError) {
        try checkUsable()
        try finally { writer throws(StorageError) in
            var next = writer.successor(for: 0, first: index + 1)
            next.oldest = next.number
            next.predecessorEnd = 0
            next.base = LogBase(index: index, term: term)
            try writer.adopt(try writer.prepare(next))
        }
    }

    /// Syncs, and marks the end so that damage before it can never pass for a torn write.
    mutating func close() throws(StorageError) {
        try checkUsable()
        try finally { writer throws(StorageError) in
            try writer.syncSegment()
            guard !writer.hasEndMark else { return }
            writer.gather(.endMark, [], bodyBytes: 0, durable: writer.position)
            try writer.flush()
            try writer.syncSegment()
        }
        failure = .io(operation: "use the closed log", path: directory, code: EBADF)
    }

    // MARK: Failure

    private func checkUsable() throws(StorageError) {
        if let failure { throw failure }
    }

    /// Makes a failure of `body` final.
    private mutating func finally(_ body: (inout Self) throws(StorageError) -> Void) throws(StorageError) {
        do throws(StorageError) {
            try body(&self)
        } catch {
            if isWithoutRoom {
                // What was written of the same append is superseded when it is repeated.
                isWithoutRoom = false
                throw error
            }
            // `.full` says that trying again makes sense, and it does not.
            if case .full(let path) = error {
                failure = .io(operation: "write", path: path, code: ENOSPC)
            } else {
                failure = error
            }
            throw failure!
        }
    }

    // MARK: Records

    private mutating func write(_ entries: [Entry]) throws(StorageError) {
        var rest = entries[...]
        while !rest.isEmpty {
            let (count, bodyBytes) = nextRecord(of: rest)
            let size = LogRecord.size(bodyBytes: bodyBytes)
            if !hasRoom(for: buffer.readableBytes + size) {
                try flush()
                if !hasRoom(for: size) { try adopt(try prepare(successor(for: size, first: rest.first!.index))) }
            } else if buffer.readableBytes + size > Self.maxBufferedBytes {
                try flush()
            }
            gather(.entries, rest.prefix(count), bodyBytes: bodyBytes, durable: durable)
            rest = rest.dropFirst(count)
        }
        try flush()
    }

    /// How many of `entries` go into the next record.
    private func nextRecord(of entries: ArraySlice<Entry>) -> (count: Int, bodyBytes: Int) {
        var bodyBytes = entries.first!.bytes.readableBytes
        var count = 1
        while count < entries.count {
            let entry = entries[entries.startIndex + count]
            precondition(entry.index == entries.first!.index + UInt64(count), "entries are consecutive")
            guard bodyBytes + entry.bytes.readableBytes <= LogRecord.targetBodyBytes else { break }
            bodyBytes += entry.bytes.readableBytes
            count += 1
        }
        return (count, bodyBytes)
    }

    /// Whether records of `size` bytes fit into the segment, with the mark that may have to end it.
    private func hasRoom(for size: Int) -> Bool {
        Int(end) + size + LogRecord.headerBytes <= Int(segment.size)
    }

    private mutating func gather(
        _ kind: LogRecord.Kind, _ entries: ArraySlice<Entry>, bodyBytes: Int, durable: LogPosition
    ) {
        let position = LogPosition(segment: segment.number, offset: end + UInt32(buffer.readableBytes))
        LogRecord.write(kind, entries, bodyBytes: bodyBytes, at: position, durable: durable, into: &buffer)
        if let first = entries.first, let last = entries.last {
            gathered.append(
                LogCatalog.Record(
                    entries: first.index...last.index, lastTerm: last.term, position: position,
                    end: end + UInt32(buffer.readableBytes)))
        }
        hasEndMark = kind == .endMark
    }

    /// Writes what was gathered, with one call, and lets readers see it.
    private mutating func flush() throws(StorageError) {
        guard buffer.readableBytes > 0 else { return }
        try file.write(buffer, at: UInt64(end))
        end += UInt32(buffer.readableBytes)
        writtenBytes += UInt64(buffer.readableBytes)
        for record in gathered { catalog.add(record) }
        gathered.removeAll(keepingCapacity: true)
        if buffer.capacity > 2 * Self.maxBufferedBytes { buffer = ByteBuffer() } else { buffer.clear() }
    }

    private mutating func syncSegment() throws(StorageError) {
        guard durable < position else { return }
        try file.sync()
        durable = position
    }

    // MARK: Segments

    /// A segment that is whole and synced, but does not have its name yet.
    private struct PreparedSegment {
        var segment: LogSegment
        var temporary: String
    }

    private func path(_ number: UInt32) -> String {
        directory + "/" + LogSegment.fileName(number)
    }

    /// The head of the next segment, whose first record has `recordBytes` and starts with entry `first`. It lets the
    /// log start as late as is allowed, but not so late that this record would reach back before the start.
    private func successor(for recordBytes: Int, first: LogIndex) -> LogSegment {
        let needed = Int(LogSegment.headerBytes) + recordBytes + LogRecord.headerBytes
        var next = segment
        next.number += 1
        next.size = UInt32(max(options.segmentBytes, needed))
        next.predecessorEnd = end
        if let start = catalog.newestStart(through: min(discardable, first - 1)) {
            next.oldest = start.segment
            next.base = start.base
        }
        return next
    }

    private mutating func prepare(_ next: LogSegment) throws(StorageError) -> PreparedSegment {
        let temporary = path(next.number) + ".tmp"
        do throws(StorageError) {
            try Self.create(next, at: temporary, fileSystem)
        } catch {
            if case .full = error { isWithoutRoom = true }
            throw error
        }
        return PreparedSegment(segment: next, temporary: temporary)
    }

    /// Whether the next segment finds room now: one is made, and taken away again.
    mutating func hasRoomForSegment() throws(StorageError) -> Bool {
        try checkUsable()
        let next = successor(for: 0, first: catalog.lastIndex + 1)
        let temporary = path(next.number) + ".tmp"
        do throws(StorageError) {
            try Self.create(next, at: temporary, fileSystem)
            try fileSystem.remove(temporary)
            return true
        } catch {
            if case .full = error { return false }
            failure = error
            throw error
        }
    }

    /// Ends the segment in use and continues in the next one. What the new head leaves out is discarded last: before
    /// its file may be removed, the new segment has its name for good and its loss would be found.
    private mutating func adopt(_ next: PreparedSegment) throws(StorageError) {
        try syncSegment()
        let path = path(next.segment.number)
        do throws(StorageError) {
            try fileSystem.rename(next.temporary, to: path)
        } catch {
            if case .full = error {
                // The directory itself has no room for the name.
                isWithoutRoom = true
                try? fileSystem.remove(next.temporary)
            }
            throw error
        }
        try fileSystem.syncDirectory(directory)
        file = try fileSystem.open(path, .readWrite)
        segment = next.segment
        end = LogSegment.headerBytes
        durable = position
        hasEndMark = false
        catalog.add(segment, file)
        // From now on a log without this segment is known to be incomplete.
        try hardState.save(hardState.current.state, logDurable: durable)
        catalog.discard(before: segment.oldest, base: segment.base)
    }

    /// Creates a segment file under a temporary name, whole and synced. Leaves nothing behind if the device is full.
    private static func create(
        _ segment: LogSegment, at temporary: String, _ fileSystem: any FileSystem
    ) throws(StorageError) {
        if fileSystem.exists(temporary) { try fileSystem.remove(temporary) }
        do throws(StorageError) {
            let file = try fileSystem.open(temporary, .create)
            try file.allocate(UInt64(segment.size))
            try file.write(segment.encoded(), at: 0)
            try file.sync()
        } catch {
            if case .full = error { try? fileSystem.remove(temporary) }
            throw error
        }
    }

    /// Creates the first segment of a log.
    static func createFirstSegment(
        in directory: String, _ fileSystem: any FileSystem, _ options: LogOptions
    ) throws(StorageError) {
        let segment = LogSegment(
            number: 1, size: UInt32(options.segmentBytes), oldest: 1, predecessorEnd: 0, base: LogBase())
        let path = directory + "/" + LogSegment.fileName(1)
        try create(segment, at: path + ".tmp", fileSystem)
        try fileSystem.rename(path + ".tmp", to: path)
        try fileSystem.syncDirectory(directory)
    }

    /// Continues in a new segment because bytes of a torn write lie behind the end of this one, and makes what was
    /// recovered count as durable.
    mutating func startSession(behindTornBytes isTorn: Bool) throws(StorageError) {
        if isTorn {
            try adopt(try prepare(successor(for: 0, first: catalog.lastIndex + 1)))
        } else {
            try hardState.save(hardState.current.state, logDurable: durable)
        }
    }
}
