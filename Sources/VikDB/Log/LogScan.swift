import NIOCore
import VikWire

/// Reads the records of a log in order and decides where it ends: what recovery and ``LogCheck`` both rest on. Changes
/// nothing; a job of one thread.
///
/// A record that is not whole is either torn (the crash came while its group was not yet synced; it and all behind it
/// never counted) or corrupt (it was durable once). It is corrupt if anything says that the log was durable past it:
/// a whole record behind it, a later segment, or the hard state.
struct LogScan {
    /// A live segment whose head was read.
    struct Segment {
        let head: LogSegment
        let file: any File
    }

    /// How the last segment ends.
    struct Tail {
        /// Where whole records end.
        var end: UInt32
        /// Where the last group starts, which may have been read from a cache that the disk never got.
        var lastGroup: UInt32
        var hasEndMark = false
        /// Whether something lies behind the end.
        var isTorn: Bool
    }

    static let windowBytes = 1 << 20

    /// The head that says what belongs to the log.
    let last: LogSegment
    /// What was read so far; nothing to go by once a segment was found damaged.
    private(set) var log: RecoveredLog
    /// Set when the last segment was read.
    private(set) var tail: Tail?

    private let directory: LogDirectory
    private let fileSystem: any FileSystem
    private let mode: OpenMode
    private let hardState: HardStateFile.Copy
    /// The segment opened last.
    private var opened: Segment?
    /// Set while the records before the next one are damaged or missing: it may start with any entry.
    private var hasGap = false

    /// - Parameter mode: what the segments are opened for.
    init(
        _ directory: LogDirectory, _ fileSystem: any FileSystem, _ hardState: HardStateFile.Copy, mode: OpenMode
    ) throws(StorageError) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.hardState = hardState
        self.mode = mode
        let durable = hardState.logDurable.segment
        guard let number = directory.segments.last, number >= durable else {
            throw directory.missing(durable, "the hard state was saved after it")
        }
        let file = try fileSystem.open(directory.path(number), mode)
        last = try LogSegment(from: file, number: number)
        opened = Segment(head: last, file: file)
        log = RecoveredLog(
            hardState: hardState.state, firstIndex: last.base.index + 1, lastIndex: last.base.index,
            baseTerm: last.base.term, termRuns: [], configurations: [])
    }

    /// The segments that belong to the log.
    var segments: ClosedRange<UInt32> { last.oldest...last.number }

    /// Opens a segment, if the one opened last is another, and reads its head.
    mutating func open(_ number: UInt32) throws(StorageError) -> Segment {
        if let opened, opened.head.number == number { return opened }
        do throws(StorageError) {
            guard directory.segments.contains(number) else {
                throw directory.missing(number, "segment \(last.number) needs it")
            }
            let file = try fileSystem.open(directory.path(number), mode)
            let segment = Segment(head: try LogSegment(from: file, number: number), file: file)
            opened = segment
            return segment
        } catch {
            hasGap = true
            throw error
        }
    }

    /// Reads all records of `segment`, which follows the one read before, and hands those with entries to `visit`.
    ///
    /// After an error the next segment may be read all the same.
    mutating func read(
        _ segment: Segment, _ visit: (LogCatalog.Record) -> Void
    ) throws(StorageError) {
        do throws(StorageError) {
            if segment.head.number < last.number {
                let next = try open(segment.head.number + 1)
                try readClosed(segment, end: next.head.predecessorEnd, visit)
            } else {
                tail = try readLast(segment, visit)
            }
        } catch {
            hasGap = true
            throw error
        }
    }

    private func reader(_ segment: Segment, limit: UInt32) -> LogRecordReader {
        LogRecordReader(
            file: segment.file, segment: segment.head.number, from: LogSegment.headerBytes, limit: limit,
            windowBytes: Self.windowBytes)
    }

    /// Reads a segment that has a successor: it was durable up to `end`, so that nothing in it can be torn.
    private mutating func readClosed(
        _ segment: Segment, end: UInt32, _ visit: (LogCatalog.Record) -> Void
    ) throws(StorageError) {
        let path = segment.file.path
        guard end >= LogSegment.headerBytes, end <= segment.head.size else {
            throw .corrupt(path: path, offset: 0, reason: "the next segment says that it ends at \(end)")
        }
        var reader = reader(segment, limit: end)
        while reader.offset < end {
            let offset = reader.offset
            switch try reader.next() {
            case .record(let record): try take(record, path, visit)
            case .end: throw .corrupt(path: path, offset: UInt64(offset), reason: "a record is missing")
            case .damaged(let reason): throw .corrupt(path: path, offset: UInt64(offset), reason: reason)
            }
        }
    }

    private mutating func readLast(
        _ segment: Segment, _ visit: (LogCatalog.Record) -> Void
    ) throws(StorageError) -> Tail {
        let (path, number) = (segment.file.path, segment.head.number)
        var reader = reader(segment, limit: segment.head.size)
        var durable = LogPosition(segment: number, offset: LogSegment.headerBytes)
        var hasEndMark = false
        var damage = "a record is missing"
        reading: while true {
            switch try reader.next() {
            case .record(let record):
                try take(record, path, visit)
                durable = max(durable, record.durable)
                hasEndMark = record.kind == .endMark
            case .end:
                break reading
            case .damaged(let reason):
                damage = reason
                break reading
            }
        }
        let end = LogPosition(segment: number, offset: reader.offset)
        let behind = try lookBehind(segment, &reader)
        let known = max(hardState.logDurable, behind.durable)
        if known > end {
            throw .corrupt(
                path: path, offset: UInt64(end.offset), reason: "\(damage), but the log was durable to \(known)")
        }
        durable = max(durable, hardState.logDurable)
        return Tail(end: end.offset, lastGroup: durable.offset, hasEndMark: hasEndMark, isTorn: behind.hasBytes)
    }

    /// Looks through everything behind the last record that follows: for bytes that are not zero, and for the durable
    /// place that whole records among them tell of.
    private func lookBehind(
        _ segment: Segment, _ reader: inout LogRecordReader
    ) throws(StorageError) -> (hasBytes: Bool, durable: LogPosition) {
        var hasBytes = false
        var durable = LogPosition.start
        var offset = reader.offset
        while offset < segment.head.size {
            let chunk = try segment.file.bytes(
                at: UInt64(offset), count: min(Self.windowBytes, Int(segment.head.size - offset)))
            guard chunk.readableBytes > 0 else { break }
            // A record's third word is its own position; only where it is right is the rest looked at.
            var candidates: [UInt32] = []
            chunk.withUnsafeReadableBytes { bytes in
                for place in stride(from: 0, through: bytes.count - 8, by: LogRecord.alignment) {
                    let word = bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                    if word == 0 { continue }
                    hasBytes = true
                    let start = offset + UInt32(place) - 8
                    let position = LogPosition(segment: segment.head.number, offset: start)
                    if UInt64(bigEndian: word) == position.rawValue { candidates.append(start) }
                }
                if bytes.suffix(bytes.count % 8).contains(where: { $0 != 0 }) { hasBytes = true }
            }
            for start in candidates {
                if case .record(let record) = try reader.record(at: start) {
                    durable = max(durable, record.durable)
                }
            }
            offset += UInt32(chunk.readableBytes)
        }
        return (hasBytes, durable)
    }

    /// Takes over the entries of a whole record.
    private mutating func take(
        _ record: LogRecord, _ path: String, _ visit: (LogCatalog.Record) -> Void
    ) throws(StorageError) {
        let entries = try record.entries(path: path)
        func corrupt(_ reason: String) -> StorageError {
            .corrupt(path: path, offset: UInt64(record.position.offset), reason: reason)
        }
        guard record.durable <= record.position else { throw corrupt("the record was durable before it was written") }
        guard let first = entries.first, let last = entries.last else {
            if record.kind == .entries { throw corrupt("the record has no entries") }
            return
        }
        guard record.kind == .entries else { throw corrupt("the end mark has entries") }
        guard first.index >= log.firstIndex, hasGap || first.index <= log.lastIndex + 1 else {
            throw corrupt("index \(first.index) follows \(log.lastIndex)")
        }
        hasGap = false
        visit(
            LogCatalog.Record(
                entries: first.index...last.index, lastTerm: last.term, position: record.position, end: record.end))
        while let run = log.termRuns.last, run.firstIndex >= first.index { log.termRuns.removeLast() }
        while let entry = log.configurations.last, entry.index >= first.index { log.configurations.removeLast() }
        for entry in entries {
            if entry.term != log.termRuns.last?.term {
                log.termRuns.append(TermRun(firstIndex: entry.index, term: entry.term))
            }
            if entry.kind == .configuration {
                // A copy of its own, so that it does not keep the whole window.
                log.configurations.append(
                    Entry(index: entry.index, term: entry.term, kind: entry.kind, payload: entry.payload))
            }
        }
        log.lastIndex = last.index
    }
}
