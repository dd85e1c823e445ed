import NIOCore

/// Writes one table, from keys in ascending order, one version of each. Owns the new file until it is finished; bound
/// to one job.
///
/// Memory is bounded by one block, the output buffer, the index, eight bytes a key for the filter, and zlib's state if
/// blocks are compressed. The index is not: a reader needs it whole, once, and keeps it.
final class TableWriter {
    private static let restartInterval = 16
    /// Bytes collected before they are handed to the file system.
    private static let outputBytes = 256 << 10

    private let file: any File
    private let number: UInt64
    private let blockBytes: Int
    private var compressor: BlockCompressor?
    private var data = BlockBuilder(restartInterval: TableWriter.restartInterval)
    private var index = BlockBuilder(restartInterval: 1)
    /// The data block that waits for the key after it, which its entry in the index sets it apart from.
    private var unindexed: BlockHandle?
    private var hashes: [UInt64] = []
    private var properties = TableProperties()
    private var smallest: [UInt8] = []
    private var output = ByteBuffer()
    /// Where the first byte of `output` goes.
    private var outputOffset: UInt64 = 0

    init(file: any File, number: UInt64, options: EngineOptions) {
        self.file = file
        self.number = number
        blockBytes = options.blockBytes
        switch options.compression {
        case .none: compressor = nil
        case .zlib: compressor = BlockCompressor()
        }
        output.reserveCapacity(Self.outputBytes + 2 * blockBytes)
    }

    /// Size of the file so far, with the index that is written last.
    var fileBytes: UInt64 { outputOffset + UInt64(output.readableBytes + data.bytes + index.bytes) }

    func add(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(StorageError) {
        let stem = InternalKey.stem(key)
        if properties.entries == 0 {
            smallest = [UInt8](key)
        } else {
            let order = InternalKey.compareStems(InternalKey.stem(data.lastKey), stem)
            precondition(order < 0, "a table has each key once, in ascending order")
        }
        if let block = unindexed {
            addToIndex(block, InternalKey.separator(after: data.lastKey, before: key))
            unindexed = nil
        }
        hashes.append(BloomFilter.hash(stem))
        data.add(key, value)
        properties.add(key, value)
        if data.bytes >= blockBytes { try finishDataBlock() }
    }

    /// Writes what is left and makes the file durable; its name is not, until its directory is synced.
    func finish() throws(StorageError) -> TableMetadata {
        precondition(properties.entries > 0, "an empty table is not written")
        if !data.isEmpty { try finishDataBlock() }
        let largest = [UInt8](data.lastKey)
        if let block = unindexed { addToIndex(block, largest) }
        let filter = try write(ByteBuffer(bytes: BloomFilter.build(hashes)), .filter)
        var encodedProperties = ByteBuffer()
        properties.write(into: &encodedProperties)
        let propertiesHandle = try write(encodedProperties, .properties)
        var indexHandle = BlockHandle(offset: 0, length: 0)
        try index.finish { contents throws(StorageError) in indexHandle = try write(contents, .index) }
        TableFooter(index: indexHandle, filter: filter, properties: propertiesHandle, fileNumber: number)
            .write(into: &output)
        try flushOutput()
        try file.sync()
        return TableMetadata(
            number: number, fileBytes: outputOffset, entries: properties.entries, tombstones: properties.tombstones,
            tombstoneBytes: properties.tombstoneBytes(of: outputOffset), smallest: smallest, largest: largest)
    }

    private func finishDataBlock() throws(StorageError) {
        try data.finish { contents throws(StorageError) in
            if let compressed = compressor?.compress(contents) {
                unindexed = try write(compressed, .data, compression: .zlib)
            } else {
                unindexed = try write(contents, .data)
            }
        }
    }

    private func addToIndex(_ handle: BlockHandle, _ key: [UInt8]) {
        var place = (handle.offset.bigEndian, handle.length.bigEndian)
        withUnsafeBytes(of: &place) { place in
            key.span.withUnsafeBytes { key in
                index.add(key, UnsafeRawBufferPointer(rebasing: place.prefix(BlockHandle.encodedBytes)))
            }
        }
    }

    private func write(
        _ contents: ByteBuffer, _ kind: BlockKind, compression: BlockCompression = .none
    ) throws(StorageError) -> BlockHandle {
        let offset = outputOffset + UInt64(output.readableBytes)
        let checksum = contents.withUnsafeReadableBytes {
            BlockTrailer.checksum(
                $0, kind: kind, compression: compression.rawValue, fileNumber: number, offset: offset)
        }
        output.writeImmutableBuffer(contents)
        output.writeMultipleIntegers(kind.rawValue, compression.rawValue, checksum)
        if output.readableBytes >= Self.outputBytes { try flushOutput() }
        return BlockHandle(offset: offset, length: UInt32(contents.readableBytes))
    }

    private func flushOutput() throws(StorageError) {
        try file.write(output, at: outputOffset)
        file.beginWriteback(at: outputOffset, count: output.readableBytes)
        outputOffset += UInt64(output.readableBytes)
        output.clear()
    }
}
