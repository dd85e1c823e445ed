import NIOCore
import VikWire

/// One record of a segment: consecutive entries, or the mark of a clean close.
///
/// A plain value. Its checksum covers its own position, so that bytes of another place or of a recycled file never
/// read as a record; layout in docs/storage-format.md.
struct LogRecord {
    static let headerBytes = 32
    /// Records start at multiples of this, which bounds the search for records behind a damaged one.
    static let alignment = 8
    /// Entries are gathered into a record up to this many bytes; a larger entry gets a record of its own.
    static let targetBodyBytes = 1 << 20
    static let maxBodyBytes = max(targetBodyBytes, WireLimits.maxEntryPayloadBytes + Entry.headerBytes)

    enum Kind: UInt8 {
        case entries = 1
        /// Written and synced by a clean close; whatever is damaged before it was once whole.
        case endMark = 2
    }

    let position: LogPosition
    /// Everything before this place was durable when the record was written.
    let durable: LogPosition
    let kind: Kind
    let body: ByteBuffer

    /// Just behind the record.
    var end: UInt32 { position.offset + UInt32(Self.size(bodyBytes: body.readableBytes)) }

    /// Bytes on disk of a record with such a body.
    static func size(bodyBytes: Int) -> Int {
        headerBytes + (bodyBytes + alignment - 1) / alignment * alignment
    }

    /// Appends a record of `entries` to `buffer`.
    static func write(
        _ kind: Kind, _ entries: ArraySlice<Entry>, bodyBytes: Int, at position: LogPosition, durable: LogPosition,
        into buffer: inout ByteBuffer
    ) {
        let size = size(bodyBytes: bodyBytes)
        // In one go, as for an entry: records are small, and one is written for each group.
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { space in
            let record = UnsafeMutableRawBufferPointer(rebasing: space[..<size])
            record.storeBytes(of: UInt32(bodyBytes).bigEndian, toByteOffset: 4, as: UInt32.self)
            record.storeBytes(of: position.rawValue.bigEndian, toByteOffset: 8, as: UInt64.self)
            record.storeBytes(of: durable.rawValue.bigEndian, toByteOffset: 16, as: UInt64.self)
            record.storeBytes(of: (UInt64(kind.rawValue) << 56).bigEndian, toByteOffset: 24, as: UInt64.self)
            var end = headerBytes
            for entry in entries {
                entry.bytes.withUnsafeReadableBytes { bytes in
                    UnsafeMutableRawBufferPointer(rebasing: record[end...]).copyMemory(from: bytes)
                    end += bytes.count
                }
            }
            for padding in end..<size { record[padding] = 0 }
            let checksum = Checksum.crc32(UnsafeRawBufferPointer(rebasing: record[4...]))
            record.storeBytes(of: checksum.bigEndian, as: UInt32.self)
            return size
        }
    }

    /// Decodes the entries of a record in file `path`. What this build does not know is an error: an entry must never
    /// be skipped.
    func entries(path: String) throws(StorageError) -> [Entry] {
        var rest = body
        var entries: [Entry] = []
        while rest.readableBytes > 0 {
            let consumed = Self.headerBytes + body.readableBytes - rest.readableBytes
            let offset = UInt64(position.offset) + UInt64(consumed)
            do {
                entries.append(try Entry(from: &rest))
            } catch .unknown(let field, let value) {
                throw .incompatible(
                    path: path, reason: "the entry at offset \(offset) has the unknown \(field) \(value)")
            } catch {
                throw .corrupt(path: path, offset: offset, reason: error.description)
            }
            if entries.count > 1, entries[entries.count - 1].index != entries[entries.count - 2].index + 1 {
                throw .corrupt(path: path, offset: offset, reason: "the entry's index does not follow")
            }
        }
        return entries
    }
}

/// Reads the records of one segment in order, through a window of the file. A plain value, used by one thread.
struct LogRecordReader {
    enum Step {
        case record(LogRecord)
        /// No record starts here: zeros, or no room for one.
        case end
        /// The bytes here are no record.
        case damaged(String)
    }

    /// Where the next record starts.
    private(set) var offset: UInt32
    private let file: any File
    private let segment: UInt32
    private let limit: UInt32
    private let windowBytes: Int
    private var window = ByteBuffer()
    private var windowStart: UInt32 = 0

    /// - Parameter limit: where records end at the latest.
    init(file: any File, segment: UInt32, from offset: UInt32, limit: UInt32, windowBytes: Int) {
        self.file = file
        self.segment = segment
        self.offset = offset
        self.limit = limit
        self.windowBytes = windowBytes
    }

    mutating func next() throws(StorageError) -> Step {
        let step = try record(at: offset)
        if case .record(let record) = step { offset = record.end }
        return step
    }

    /// The record at `start`, wherever reading has come.
    mutating func record(at start: UInt32) throws(StorageError) -> Step {
        guard let header = try bytes(at: start, count: LogRecord.headerBytes) else { return .end }
        let (checksum, bodyLength, position, durable, kind, _, _, _) = header.getMultipleIntegers(
            at: header.readerIndex, as: (UInt32, UInt32, UInt64, UInt64, UInt8, UInt8, UInt16, UInt32).self)!
        if position == 0, header.readableBytesView.allSatisfy({ $0 == 0 }) { return .end }
        let here = LogPosition(segment: segment, offset: start)
        guard position == here.rawValue else { return .damaged("the record is not of this place") }
        let bodyBytes = Int(bodyLength)
        guard bodyBytes <= LogRecord.maxBodyBytes else { return .damaged("the record is longer than its limit") }
        guard let whole = try bytes(at: start, count: LogRecord.size(bodyBytes: bodyBytes)) else {
            return .damaged("the record is longer than the segment")
        }
        let computed = whole.withUnsafeReadableBytes { Checksum.crc32(UnsafeRawBufferPointer(rebasing: $0[4...])) }
        guard checksum == computed else { return .damaged("the record does not match its checksum") }
        guard let kind = LogRecord.Kind(rawValue: kind) else {
            throw .incompatible(path: file.path, reason: "the record at offset \(start) has the unknown kind \(kind)")
        }
        return .record(
            LogRecord(
                position: here, durable: LogPosition(rawValue: durable), kind: kind,
                body: whole.getSlice(at: whole.readerIndex + LogRecord.headerBytes, length: bodyBytes)!))
    }

    /// Bytes of the segment, nil if it has not as many. Slices of earlier windows stay valid.
    private mutating func bytes(at start: UInt32, count: Int) throws(StorageError) -> ByteBuffer? {
        guard Int(start) + count <= Int(limit) else { return nil }
        if start < windowStart || Int(start) + count > Int(windowStart) + window.readableBytes {
            let wanted = min(max(count, windowBytes), Int(limit - start))
            window = try file.bytes(at: UInt64(start), count: wanted)
            windowStart = start
        }
        return window.getSlice(at: window.readerIndex + Int(start - windowStart), length: count)
    }
}
