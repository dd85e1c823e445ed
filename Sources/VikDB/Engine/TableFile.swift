import VikWire

/// The file of one finished table, read block by block and verified; keeps nothing of it but the footer. Reads may come
/// from any thread.
struct TableFile: Sendable {
    let footer: TableFooter
    let bytes: UInt64
    private let file: any File

    /// Reads and verifies the footer.
    ///
    /// - Parameter metadata: what the manifest says of the table; nil: nothing is known of it.
    init(_ file: any File, expecting metadata: TableMetadata?) throws(StorageError) {
        self.file = file
        bytes = try file.size()
        if let metadata, bytes != metadata.fileBytes {
            throw .corrupt(
                path: file.path, offset: bytes, reason: "\(bytes) bytes, the manifest says \(metadata.fileBytes)")
        }
        guard bytes >= UInt64(TableFooter.encodedBytes) else {
            throw .corrupt(path: file.path, offset: bytes, reason: "it is too short for a table")
        }
        let offset = bytes - UInt64(TableFooter.encodedBytes)
        footer = try TableFooter(
            try file.bytes(at: offset, count: TableFooter.encodedBytes), path: file.path, offset: offset)
        if let metadata, footer.fileNumber != metadata.number {
            throw .corrupt(path: file.path, offset: offset, reason: "this is table \(footer.fileNumber)")
        }
    }

    var path: String { file.path }
    var number: UInt64 { footer.fileNumber }

    func properties(expecting metadata: TableMetadata?) throws(StorageError) -> TableProperties {
        let block = try block(footer.properties, .properties)
        let properties = withExtendedLifetime(block) { TableProperties(block.bytes) }
        guard let properties else { throw block.damaged("the properties have \(block.bytes.count) bytes") }
        if let metadata, properties.entries != metadata.entries || properties.tombstones > properties.entries {
            throw block.damaged("the properties do not match the manifest")
        }
        return properties
    }

    /// The handle of a data block, from the value of its entry in the index.
    func dataHandle(_ encoded: UnsafeRawBufferPointer) throws(StorageError) -> BlockHandle {
        guard encoded.count == BlockHandle.encodedBytes else {
            throw .corrupt(path: file.path, offset: footer.index.offset, reason: "an index entry of a wrong length")
        }
        return BlockHandle(
            offset: encoded.loadUnaligned(as: UInt64.self).bigEndian,
            length: encoded.loadUnaligned(fromByteOffset: 8, as: UInt32.self).bigEndian)
    }

    func block(_ handle: BlockHandle, _ kind: BlockKind) throws(StorageError) -> Block {
        let (stored, compression) = try storedBlock(handle, kind)
        let block =
            switch compression {
            case .none: stored
            case .zlib: try stored.inflated()
            }
        switch kind {
        case .data, .index: try block.checkEntries()
        case .filter, .properties: break
        }
        return block
    }

    /// A block as it is stored.
    func storedBlock(
        _ handle: BlockHandle, _ kind: BlockKind
    ) throws(StorageError) -> (block: Block, compression: BlockCompression) {
        let count = Int(handle.length) + BlockTrailer.encodedBytes
        guard handle.offset < bytes, UInt64(count) <= bytes - handle.offset else {
            throw .corrupt(path: file.path, offset: handle.offset, reason: "a block outside the file")
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        let block = Block(
            adopting: buffer.baseAddress!, count: Int(handle.length), path: file.path, offset: handle.offset)
        let found = try file.read(at: handle.offset, into: buffer)
        guard found == count else { throw block.damaged("a block is cut off") }
        let trailer = Int(handle.length)
        let form = buffer[trailer + 1]
        let checksum = BlockTrailer.checksum(
            block.bytes, kind: kind, compression: form, fileNumber: number, offset: handle.offset)
        guard buffer[trailer] == kind.rawValue,
            buffer.loadUnaligned(fromByteOffset: trailer + 2, as: UInt32.self).bigEndian == checksum
        else { throw block.damaged("a block does not match its checksum") }
        guard let compression = BlockCompression(rawValue: form) else {
            throw .incompatible(
                path: file.path, reason: "the block at offset \(handle.offset) has the unknown compression \(form)")
        }
        return (block, compression)
    }
}
