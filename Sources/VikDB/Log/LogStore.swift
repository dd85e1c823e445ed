import NIOCore
import Synchronization
import VikWire

/// How a log is laid out. A plain value.
package struct LogOptions: Sendable {
    /// Bytes of a segment file; an entry that needs more gets a segment of its own size.
    package let segmentBytes: Int

    package init(segmentBytes: Int = 64 << 20) {
        precondition(segmentBytes >= 4096 && segmentBytes <= 1 << 30, "segments have 4 KiB to 1 GiB")
        self.segmentBytes = segmentBytes
    }
}

/// The replicated log of one member and its hard state, in a directory of their own: the only write-ahead log.
///
/// Appending, syncing, saving and closing are jobs of the log lane; what may come from any thread says so. The log only
/// ever grows at its end: a record with a lower or equal index supersedes everything from there on. At its front it
/// loses whole segments that are no longer needed, each time it goes on in a new one. The caller has one group of
/// appends unsynced at a time: what a crash leaves of it is the only thing that recovery may drop.
package final class LogStore: Sendable {
    /// Entries are read in windows of this size, more only for a larger record.
    private static let readWindowBytes = 256 << 10

    private let catalog: LogCatalog
    /// Never contended: only the log lane takes it.
    private let writer: Mutex<LogWriter>
    private let written = Atomic<UInt64>(0)

    private init(_ writer: LogWriter, _ catalog: LogCatalog) {
        self.writer = Mutex(writer)
        self.catalog = catalog
    }

    /// Opens the log in `directory`, creating it if there is none. The caller holds the store's lock.
    package static func open(
        directory: String, fileSystem: any FileSystem, options: LogOptions
    ) throws(StorageError) -> (LogStore, RecoveredLog) {
        let (writer, catalog, log) = try LogRecovery.open(
            directory: directory, fileSystem: fileSystem, options: options)
        return (LogStore(writer, catalog), log)
    }

    /// Writes consecutive entries that follow the log or supersede a part of it; durable after ``sync()``.
    ///
    /// After an error every further call throws, save one: `.full` before anything was written leaves the log as it
    /// was, and a later append may succeed.
    package func append(_ entries: [Entry]) throws(StorageError) {
        try writer.withLock { writer throws(StorageError) in
            try writer.append(entries)
            written.store(writer.writtenBytes, ordering: .relaxed)
        }
    }

    /// Whether an append that was refused for want of room would find room for its segment now.
    package func hasRoomForSegment() throws(StorageError) -> Bool {
        try writer.withLock { writer throws(StorageError) in try writer.hasRoomForSegment() }
    }

    /// Makes all appends durable.
    package func sync() throws(StorageError) {
        try writer.withLock { writer throws(StorageError) in try writer.sync() }
    }

    /// Durable when it returns.
    package func save(_ state: HardState) throws(StorageError) {
        try writer.withLock { writer throws(StorageError) in try writer.save(state) }
    }

    /// Discards the whole log; the next entry is `index + 1` (design rule 18). Files are left to ``removeDiscarded()``.
    package func reset(toFollow index: LogIndex, term: Term) throws(StorageError) {
        try writer.withLock { writer throws(StorageError) in try writer.reset(toFollow: index, term: term) }
    }

    /// Syncs and marks the end of the log; every later call throws, reads excepted.
    package func close() throws(StorageError) {
        try writer.withLock { writer throws(StorageError) in try writer.close() }
    }

    // MARK: Discarding

    /// Entries through `index` are no longer needed: the log may start after any of them, and does so, as late as whole
    /// segments allow, when it next goes on in a new segment. A lower index than before changes nothing. No I/O; log
    /// lane.
    package func allowDiscard(through index: LogIndex) {
        writer.withLock { $0.allowDiscard(through: index) }
    }

    /// The first entry in as few whole segments at the end of the log as have at least `bytes` of records, or of the
    /// log if it has fewer: discarding through the entry before it keeps that much for slow followers. Any thread.
    package func firstIndex(keepingBytes bytes: Int) -> LogIndex {
        catalog.firstIndex(keepingBytes: bytes)
    }

    /// The entry before the first one that the log holds. Appending moves it, as far as ``allowDiscard(through:)``
    /// permits, and ``reset(toFollow:term:)`` does; no crash takes it back. Any thread.
    package var base: LogBase { catalog.base }

    /// Whether ``removeDiscarded()`` has work. Any thread.
    package var hasDiscarded: Bool { catalog.hasDiscarded }

    /// Removes the files of segments that are no longer part of the log; what a crash leaves of them, opening the log
    /// removes. Any one thread at a time, rather not the log lane: removing a large file takes long.
    ///
    /// After an error the files that are left may be tried again, but the directory has failed as it does under
    /// ``append(_:)``, and a node stops then.
    package func removeDiscarded() throws(StorageError) {
        try catalog.removeDiscarded()
    }

    /// Bytes that the segments take, discarded ones too until they are removed. Any thread.
    package var bytesOnDisk: UInt64 { catalog.bytesOnDisk }

    /// Bytes of records that were appended since the log was opened. Any thread.
    package var writtenBytes: UInt64 { written.load(ordering: .relaxed) }

    // MARK: Reading

    /// Written entries from `first` on: at most `maxBytes` of them but at least one, none past `last`. Empty only if
    /// the log does not hold `first`, e.g. because it was superseded or discarded meanwhile. Any thread.
    package func read(
        from first: LogIndex, through last: LogIndex, maxBytes: Int
    ) throws(StorageError) -> [Entry] {
        precondition(first <= last, "a range of entries")
        var entries: [Entry] = []
        var byteCount = 0
        for extent in catalog.extents(of: first...last, maxBytes: maxBytes) {
            guard let file = try catalog.file(of: extent.position.segment) else { return entries }
            var reader = LogRecordReader(
                file: file, segment: extent.position.segment, from: extent.position.offset,
                limit: extent.segmentSize, windowBytes: Self.readWindowBytes)
            var next = extent.entries.lowerBound
            while next <= extent.entries.upperBound {
                let offset = reader.offset
                guard case .record(let record) = try reader.next() else {
                    throw .corrupt(
                        path: file.path, offset: UInt64(offset), reason: "the record of entry \(next) is not whole")
                }
                for entry in try record.entries(path: file.path)
                where entry.index == next && next <= extent.entries.upperBound {
                    byteCount += entry.bytes.readableBytes
                    if byteCount > maxBytes, !entries.isEmpty { return entries }
                    entries.append(entry)
                    next += 1
                }
            }
        }
        return entries
    }
}
