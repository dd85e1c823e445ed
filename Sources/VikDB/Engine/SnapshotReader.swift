import NIOCore
import VikWire

/// A record of a snapshot: one key that exists, with its value.
///
///     key length (2), value length (4), internal key (see ``InternalKey``), value
///
/// Integers are big-endian. A snapshot has the newest version of every key of both spaces, in the order of internal
/// keys, and no tombstones; it may be cut between any two records.
enum SnapshotRecord {
    static let headerBytes = 6

    static func write(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, into chunk: inout ByteBuffer) {
        chunk.writeMultipleIntegers(UInt16(key.count), UInt32(value.count))
        chunk.writeBytes(key)
        chunk.writeBytes(value)
    }
}

/// One consistent state, read from front to back in chunks of whole records, whatever is written meanwhile. Keeps
/// memtables and files of its moment until it is released; needs one chunk of memory beyond them. A read that failed is
/// the last one.
///
/// `@unchecked Sendable`: handed from thread to thread, but used by one at a time.
package final class SnapshotReader: @unchecked Sendable {
    /// The applied index of the state.
    package let index: LogIndex
    /// Of memtables and tables, with old versions and tombstones: a measure of progress, not of what will be read.
    package let estimatedBytes: UInt64
    /// How many were read so far.
    package private(set) var records: UInt64 = 0
    private var cursor: VisibleCursor
    private var isStarted = false

    init(_ view: EngineView) {
        index = view.index
        let tables = view.state.version.catalog.levels.joined()
        estimatedBytes = tables.reduce(UInt64(view.state.memtableBytes)) { $0 + $1.fileBytes }
        cursor = VisibleCursor(view.state.cursor(fillCache: false), bound: view.index, maxSkipped: .max)
    }

    /// The next records, at least one, up to that which reaches `targetBytes`; nil after the last. Reads tables, so it
    /// runs on a thread that may block.
    package func next(targetBytes: Int) throws(StorageError) -> ByteBuffer? {
        if !isStarted {
            try cursor.seek(.system, UnsafeRawBufferPointer(start: nil, count: 0))
            isStarted = true
        }
        guard cursor.isValid else { return nil }
        var chunk = ByteBuffer()
        repeat {
            SnapshotRecord.write(cursor.key, cursor.value, into: &chunk)
            records += 1
            try cursor.next()
        } while cursor.isValid && chunk.readableBytes < targetBytes
        return chunk
    }
}
