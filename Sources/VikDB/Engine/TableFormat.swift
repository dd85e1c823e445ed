import NIOCore
import VikWire

/// What the manifest knows about one table. A plain value.
package struct TableMetadata: Equatable, Sendable {
    /// Number of the file, never used again.
    package var number: UInt64
    package var fileBytes: UInt64
    package var entries: UInt64
    /// Of the entries, those that say that a key is deleted. The table's own properties tell it, which every start
    /// reads; the manifest does not.
    package var tombstones: UInt64
    /// About the bytes of the file that they take.
    package var tombstoneBytes: UInt64
    /// First and last internal key.
    package var smallest: [UInt8]
    package var largest: [UInt8]

    package init(
        number: UInt64, fileBytes: UInt64, entries: UInt64, tombstones: UInt64 = 0, tombstoneBytes: UInt64 = 0,
        smallest: [UInt8], largest: [UInt8]
    ) {
        self.number = number
        self.fileBytes = fileBytes
        self.entries = entries
        self.tombstones = tombstones
        self.tombstoneBytes = tombstoneBytes
        self.smallest = smallest
        self.largest = largest
    }
}

/// What the properties block says about a table. A plain value.
struct TableProperties: Equatable, Sendable {
    static let encodedBytes = 40

    var entries: UInt64 = 0
    var tombstones: UInt64 = 0
    var keyBytes: UInt64 = 0
    var valueBytes: UInt64 = 0
    var newestIndex: LogIndex = 0

    func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(entries, tombstones, keyBytes, valueBytes, newestIndex)
    }

    init() {}

    mutating func add(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        entries += 1
        tombstones += InternalKey.isDelete(key) ? 1 : 0
        keyBytes += UInt64(key.count)
        valueBytes += UInt64(value.count)
        newestIndex = max(newestIndex, InternalKey.index(key))
    }

    /// What an entry takes in a block beside its key and its value.
    static let entryBytes: UInt64 = 8

    /// About what the tombstones take of a file of `fileBytes`, as if their keys were as long as the others.
    func tombstoneBytes(of fileBytes: UInt64) -> UInt64 {
        guard tombstones > 0 else { return 0 }
        let keys = Double(keyBytes) + Double(Self.entryBytes) * Double(entries)
        return UInt64(Double(fileBytes) * Double(tombstones) / Double(entries) * keys / (keys + Double(valueBytes)))
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        var buffer = ByteBuffer(bytes: bytes)
        guard buffer.readableBytes == Self.encodedBytes,
            let (entries, tombstones, keyBytes, valueBytes, newestIndex) = buffer.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt64, UInt64).self)
        else { return nil }
        self.entries = entries
        self.tombstones = tombstones
        self.keyBytes = keyBytes
        self.valueBytes = valueBytes
        self.newestIndex = newestIndex
    }
}

/// The last bytes of a table: where its index, filter and properties are.
///
///     offset size
///     0      12   index block: offset (8), length (4)
///     12     12   filter block
///     24     12   properties block
///     36     8    file number
///     44     4    version
///     48     4    checksum of the 48 bytes before
///     52     8    magic "VIKTABLE"
struct TableFooter: Equatable {
    static let encodedBytes = 60
    static let version: UInt32 = 2
    private static let checksummedBytes = 48
    static let magic: UInt64 = 0x5649_4b54_4142_4c45

    var index: BlockHandle
    var filter: BlockHandle
    var properties: BlockHandle
    var fileNumber: UInt64

    init(index: BlockHandle, filter: BlockHandle, properties: BlockHandle, fileNumber: UInt64) {
        self.index = index
        self.filter = filter
        self.properties = properties
        self.fileNumber = fileNumber
    }

    func write(into buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        for handle in [index, filter, properties] {
            buffer.writeMultipleIntegers(handle.offset, handle.length)
        }
        buffer.writeMultipleIntegers(fileNumber, Self.version)
        let checksum = Checksum.crc32(buffer.getSlice(at: start, length: Self.checksummedBytes)!)
        buffer.writeMultipleIntegers(checksum, Self.magic)
    }

    /// Reads a footer that was found at `offset` of `path`.
    init(_ bytes: ByteBuffer, path: String, offset: UInt64) throws(StorageError) {
        var buffer = bytes
        guard
            let checksummed = bytes.getSlice(at: bytes.readerIndex, length: Self.checksummedBytes),
            let (indexOffset, indexLength, filterOffset, filterLength, propertiesOffset, propertiesLength) =
                buffer.readMultipleIntegers(as: (UInt64, UInt32, UInt64, UInt32, UInt64, UInt32).self),
            let (fileNumber, version, found, magic) = buffer.readMultipleIntegers(
                as: (UInt64, UInt32, UInt32, UInt64).self)
        else { throw .corrupt(path: path, offset: offset, reason: "the footer is cut off") }
        guard magic == Self.magic else { throw .corrupt(path: path, offset: offset + 52, reason: "not a table") }
        guard found == Checksum.crc32(checksummed) else {
            throw .corrupt(path: path, offset: offset, reason: "the footer does not match its checksum")
        }
        guard version == Self.version else {
            throw .incompatible(path: path, reason: "table version \(version), this build knows \(Self.version)")
        }
        index = BlockHandle(offset: indexOffset, length: indexLength)
        filter = BlockHandle(offset: filterOffset, length: filterLength)
        properties = BlockHandle(offset: propertiesOffset, length: propertiesLength)
        self.fileNumber = fileNumber
    }
}

/// What follows the contents of every block: kind (1), compression (1) and checksum (4).
///
/// The checksum covers contents, kind, compression, file number and the block's offset, so that neither another block's
/// bytes nor a stale version of this file's pass.
enum BlockTrailer {
    static let encodedBytes = 6

    /// - Parameters:
    ///   - contents: as they are stored.
    ///   - compression: the byte in the trailer, known or not.
    static func checksum(
        _ contents: UnsafeRawBufferPointer, kind: BlockKind, compression: UInt8, fileNumber: UInt64, offset: UInt64
    ) -> UInt32 {
        let form = UInt16(kind.rawValue) << 8 | UInt16(compression)
        var place = (form.bigEndian, fileNumber.bigEndian, offset.bigEndian)
        let seed = withUnsafeBytes(of: &place.0) { Checksum.crc32($0, seed: Checksum.crc32(contents)) }
        let next = withUnsafeBytes(of: &place.1) { Checksum.crc32($0, seed: seed) }
        return withUnsafeBytes(of: &place.2) { Checksum.crc32($0, seed: next) }
    }
}
