import NIOCore
import VikWire

/// What the log holds when it is opened. A plain value.
package struct RecoveredLog: Equatable, Sendable {
    package var hardState: HardState
    /// Index of the first live entry; `lastIndex + 1` if there is none.
    package var firstIndex: LogIndex
    package var lastIndex: LogIndex
    /// Term of the entry before `firstIndex`; 0 if that is index 0.
    package var baseTerm: Term
    package var termRuns: [TermRun]
    /// Live entries of kind `configuration`, in order.
    package var configurations: [Entry]
}

/// Reads a log from its directory and decides where it ends; a job of opening it, on one thread.
///
/// A record that is not whole is either torn (the crash came while its group was not yet synced; it and all behind it
/// never counted) or corrupt (it was durable once). It is corrupt if anything says that the log was durable past it:
/// a whole record behind it, a later segment, or the hard state. Nothing is repaired in place; recovery may crash
/// and start again at any point.
struct LogRecovery {
    private static let windowBytes = 1 << 20

    private let directory: String
    private let fileSystem: any FileSystem
    private let options: LogOptions
    private let hardState: HardStateFile
    private let lastSegment: LogSegment
    private let catalog: LogCatalog
    private var log: RecoveredLog

    /// Opens the log, creating it if there is none.
    static func open(
        directory: String, fileSystem: any FileSystem, options: LogOptions
    ) throws(StorageError) -> (LogWriter, LogCatalog, RecoveredLog) {
        try fileSystem.createDirectory(directory)
        let names = try fileSystem.list(directory)
        var numbers = names.compactMap(LogSegment.number(fileName:)).sorted()
        for name in names where isLeftover(name) { try fileSystem.remove(directory + "/" + name) }
        // Names that a killed process left unsynced count from here on.
        try fileSystem.syncDirectory(directory)

        let hardState: HardStateFile
        if names.contains(HardStateFile.fileName) {
            hardState = try HardStateFile(openingIn: directory, fileSystem)
        } else if numbers.isEmpty {
            hardState = try HardStateFile(creatingIn: directory, fileSystem)
        } else {
            throw .corrupt(
                path: directory + "/" + HardStateFile.fileName, offset: 0,
                reason: "the hard state is missing beside log segments")
        }
        if numbers.isEmpty, hardState.logDurable == .start {
            try LogWriter.createFirstSegment(in: directory, fileSystem, options)
            numbers = [1]
        }
        guard let last = numbers.last, last >= hardState.logDurable.segment else {
            throw missing(hardState.logDurable.segment, in: directory, "the hard state was saved after it")
        }
        var recovery = try LogRecovery(
            directory: directory, fileSystem: fileSystem, options: options, hardState: hardState, last: last)
        return try recovery.recover(numbers)
    }

    private static func isLeftover(_ name: String) -> Bool {
        guard name.hasSuffix(".tmp") else { return false }
        let final = String(name.dropLast(4))
        return final == HardStateFile.fileName || LogSegment.number(fileName: final) != nil
    }

    private static func missing(_ number: UInt32, in directory: String, _ reason: String) -> StorageError {
        .corrupt(
            path: directory + "/" + LogSegment.fileName(number), offset: 0,
            reason: "the segment is missing: \(reason)")
    }

    private init(
        directory: String, fileSystem: any FileSystem, options: LogOptions, hardState: HardStateFile, last: UInt32
    ) throws(StorageError) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.options = options
        self.hardState = hardState
        let file = try fileSystem.open(directory + "/" + LogSegment.fileName(last), .read)
        let head = try LogSegment(from: file, number: last)
        lastSegment = head
        catalog = LogCatalog(directory: directory, fileSystem: fileSystem, base: head.base)
        log = RecoveredLog(
            hardState: hardState.state, firstIndex: head.base.index + 1, lastIndex: head.base.index,
            baseTerm: head.base.term, termRuns: [], configurations: [])
    }

    private mutating func recover(
        _ numbers: [UInt32]
    ) throws(StorageError) -> (LogWriter, LogCatalog, RecoveredLog) {
        let live = lastSegment.oldest...lastSegment.number
        var remaining = numbers.drop { $0 < live.lowerBound }[...]
        for number in live {
            guard remaining.popFirst() == number else {
                throw Self.missing(number, in: directory, "segment \(lastSegment.number) needs it")
            }
        }
        // They dropped out of the log, but a crash came before they were removed.
        for number in numbers where number < live.lowerBound {
            try fileSystem.remove(directory + "/" + LogSegment.fileName(number))
        }

        var file = try open(live.lowerBound)
        var segment = try LogSegment(from: file, number: live.lowerBound)
        while segment.number < live.upperBound {
            let nextFile = try open(segment.number + 1)
            let next = try LogSegment(from: nextFile, number: segment.number + 1)
            try readClosed(segment, file, end: next.predecessorEnd)
            (segment, file) = (next, nextFile)
        }
        let tail = try readLast(segment, file)
        try makeDurable(file, from: tail.rewriteFrom, through: tail.end)
        var writer = LogWriter(
            directory: directory, fileSystem: fileSystem, options: options, catalog: catalog, segment: segment,
            file: file, end: tail.end, hasEndMark: tail.hasEndMark, hardState: hardState)
        try writer.startSession(behindTornBytes: tail.isTorn)
        return (writer, catalog, log)
    }

    private func open(_ number: UInt32) throws(StorageError) -> any File {
        try fileSystem.open(directory + "/" + LogSegment.fileName(number), .readWrite)
    }

    private func reader(_ segment: LogSegment, _ file: any File, limit: UInt32) -> LogRecordReader {
        LogRecordReader(
            file: file, segment: segment.number, from: LogSegment.headerBytes, limit: limit,
            windowBytes: Self.windowBytes)
    }

    /// Reads a segment that has a successor: it was durable up to `end`, so that nothing in it can be torn.
    private mutating func readClosed(_ segment: LogSegment, _ file: any File, end: UInt32) throws(StorageError) {
        catalog.add(segment, file)
        guard end >= LogSegment.headerBytes, end <= segment.size else {
            throw .corrupt(path: file.path, offset: 0, reason: "the next segment says that it ends at \(end)")
        }
        var reader = reader(segment, file, limit: end)
        while reader.offset < end {
            let offset = reader.offset
            switch try reader.next() {
            case .record(let record): try add(record, file)
            case .end: throw .corrupt(path: file.path, offset: UInt64(offset), reason: "a record is missing")
            case .damaged(let reason): throw .corrupt(path: file.path, offset: UInt64(offset), reason: reason)
            }
        }
    }

    private struct Tail {
        /// Where whole records end.
        var end: UInt32
        /// Where the last group starts, which may have been read from a cache that the disk never got.
        var rewriteFrom: UInt32
        var hasEndMark = false
        /// Whether something lies behind the end.
        var isTorn: Bool
    }

    private mutating func readLast(_ segment: LogSegment, _ file: any File) throws(StorageError) -> Tail {
        catalog.add(segment, file)
        var reader = reader(segment, file, limit: segment.size)
        var durable = LogPosition(segment: segment.number, offset: LogSegment.headerBytes)
        var hasEndMark = false
        var damage = "a record is missing"
        reading: while true {
            switch try reader.next() {
            case .record(let record):
                try add(record, file)
                durable = max(durable, record.durable)
                hasEndMark = record.kind == .endMark
            case .end:
                break reading
            case .damaged(let reason):
                damage = reason
                break reading
            }
        }
        let end = LogPosition(segment: segment.number, offset: reader.offset)
        let behind = try scan(file, &reader, segment)
        let known = max(hardState.logDurable, behind.durable)
        if known > end {
            throw .corrupt(
                path: file.path, offset: UInt64(end.offset), reason: "\(damage), but the log was durable to \(known)")
        }
        durable = max(durable, hardState.logDurable)
        return Tail(end: end.offset, rewriteFrom: durable.offset, hasEndMark: hasEndMark, isTorn: behind.hasBytes)
    }

    /// Looks through everything behind the last record that follows: for bytes that are not zero, and for the durable
    /// place that whole records among them tell of.
    private func scan(
        _ file: any File, _ reader: inout LogRecordReader, _ segment: LogSegment
    ) throws(StorageError) -> (hasBytes: Bool, durable: LogPosition) {
        var hasBytes = false
        var durable = LogPosition.start
        var offset = reader.offset
        while offset < segment.size {
            let chunk = try file.bytes(
                at: UInt64(offset), count: min(Self.windowBytes, Int(segment.size - offset)))
            guard chunk.readableBytes > 0 else { break }
            // A record's third word is its own position; only where it is right is the rest looked at.
            var candidates: [UInt32] = []
            chunk.withUnsafeReadableBytes { bytes in
                for place in stride(from: 0, through: bytes.count - 8, by: LogRecord.alignment) {
                    let word = bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                    if word == 0 { continue }
                    hasBytes = true
                    let start = offset + UInt32(place) - 8
                    if UInt64(bigEndian: word) == LogPosition(segment: segment.number, offset: start).rawValue {
                        candidates.append(start)
                    }
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

    /// Makes what was read durable. A process that died of a failed fdatasync left pages that count as clean without
    /// being on disk; writing the last group again makes the kernel write them.
    private func makeDurable(_ file: any File, from start: UInt32, through end: UInt32) throws(StorageError) {
        var offset = start
        while offset < end {
            let bytes = try file.bytes(at: UInt64(offset), count: min(Self.windowBytes, Int(end - offset)))
            guard bytes.readableBytes > 0 else { break }
            try file.write(bytes, at: UInt64(offset))
            offset += UInt32(bytes.readableBytes)
        }
        try file.sync()
    }

    /// Takes over the entries of a whole record.
    private mutating func add(_ record: LogRecord, _ file: any File) throws(StorageError) {
        let entries = try record.entries(path: file.path)
        func corrupt(_ reason: String) -> StorageError {
            .corrupt(path: file.path, offset: UInt64(record.position.offset), reason: reason)
        }
        guard record.durable <= record.position else { throw corrupt("the record was durable before it was written") }
        guard let first = entries.first, let last = entries.last else {
            if record.kind == .entries { throw corrupt("the record has no entries") }
            return
        }
        guard record.kind == .entries else { throw corrupt("the end mark has entries") }
        guard first.index >= log.firstIndex, first.index <= log.lastIndex + 1 else {
            throw corrupt("index \(first.index) follows \(log.lastIndex)")
        }
        catalog.add(
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
