import Synchronization
import VikWire

/// One open table file. Immutable; reads may come from any thread.
///
/// Kept alive by the versions that name it. Once retired, its number goes to the list of files to remove when the
/// last version, view or cursor lets go of it; the background lane removes it.
final class Table: Sendable {
    let metadata: TableMetadata
    let properties: TableProperties
    private let file: any File
    private let footer: TableFooter
    private let cache: BlockCache
    private let obsolete: ObsoleteTables
    private let isRetired = Atomic<Bool>(false)

    /// Opens a finished table: reads and verifies its footer and properties.
    init(
        _ metadata: TableMetadata, file: any File, cache: BlockCache, obsolete: ObsoleteTables
    ) throws(StorageError) {
        self.metadata = metadata
        self.file = file
        self.cache = cache
        self.obsolete = obsolete
        let size = try file.size()
        guard size == metadata.fileBytes, size >= UInt64(TableFooter.encodedBytes) else {
            throw .corrupt(
                path: file.path, offset: size, reason: "\(size) bytes, the manifest says \(metadata.fileBytes)")
        }
        let offset = size - UInt64(TableFooter.encodedBytes)
        footer = try TableFooter(
            try file.bytes(at: offset, count: TableFooter.encodedBytes), path: file.path, offset: offset)
        guard footer.fileNumber == metadata.number else {
            throw .corrupt(path: file.path, offset: offset, reason: "this is table \(footer.fileNumber)")
        }
        let block = try Self.readBlock(footer.properties, .properties, of: metadata, from: file)
        let properties = withExtendedLifetime(block) { TableProperties(block.bytes) }
        guard let properties, properties.entries == metadata.entries else {
            throw block.damaged("the properties do not match the manifest")
        }
        self.properties = properties
    }

    deinit {
        if isRetired.load(ordering: .relaxed) { obsolete.add(metadata.number) }
    }

    /// No later version names this table.
    func retire() {
        isRetired.store(true, ordering: .relaxed)
    }

    /// Finds the newest version of the key of `target` within its bound. `hash` is that of the stem.
    func find(_ target: borrowing SearchKey, hash: UInt64) throws(StorageError) -> Lookup {
        let filter = try block(footer.filter, .filter)
        let mayBeHere = withExtendedLifetime(filter) { BloomFilter.mayContain(hash, in: filter.bytes) }
        guard mayBeHere else { return .absent }
        var index = BlockCursor()
        try index.open(try block(footer.index, .index))
        try index.seek(target.bytes)
        guard index.isValid else { return .absent }
        var data = BlockCursor()
        try data.open(try dataBlock(index.value, fillCache: true))
        try data.seek(target.bytes)
        guard data.isValid,
            InternalKey.compareStems(InternalKey.stem(data.key), InternalKey.stem(target.bytes)) == 0
        else { return .absent }
        if InternalKey.isDelete(data.key) { return .deleted }
        return .found(StoredValue(bytes: [UInt8](data.value), version: InternalKey.index(data.key)))
    }

    func indexBlock() throws(StorageError) -> Block {
        try block(footer.index, .index)
    }

    /// The data block that an entry of the index leads to.
    func dataBlock(_ encodedHandle: UnsafeRawBufferPointer, fillCache: Bool) throws(StorageError) -> Block {
        guard encodedHandle.count == BlockHandle.encodedBytes else {
            throw .corrupt(path: file.path, offset: footer.index.offset, reason: "an index entry of a wrong length")
        }
        let handle = BlockHandle(
            offset: encodedHandle.loadUnaligned(as: UInt64.self).bigEndian,
            length: encodedHandle.loadUnaligned(fromByteOffset: 8, as: UInt32.self).bigEndian)
        return try block(handle, .data, fillCache: fillCache)
    }

    private func block(
        _ handle: BlockHandle, _ kind: BlockKind, fillCache: Bool = true
    ) throws(StorageError) -> Block {
        let key = BlockCache.Key(file: metadata.number, offset: handle.offset)
        if let cached = cache.block(key) { return cached }
        let block = try Self.readBlock(handle, kind, of: metadata, from: file)
        if fillCache { cache.insert(block, for: key) }
        return block
    }

    private static func readBlock(
        _ handle: BlockHandle, _ kind: BlockKind, of table: TableMetadata, from file: any File
    ) throws(StorageError) -> Block {
        let count = Int(handle.length) + BlockTrailer.encodedBytes
        guard handle.offset < table.fileBytes, UInt64(count) <= table.fileBytes - handle.offset else {
            throw .corrupt(path: file.path, offset: handle.offset, reason: "a block outside the file")
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        let block = Block(
            adopting: buffer.baseAddress!, count: Int(handle.length), path: file.path, offset: handle.offset)
        let found = try file.read(at: handle.offset, into: buffer)
        guard found == count else { throw block.damaged("a block is cut off") }
        let trailer = Int(handle.length)
        let compression = buffer[trailer + 1]
        let checksum = BlockTrailer.checksum(
            block.bytes, kind: kind, compression: compression, fileNumber: table.number, offset: handle.offset)
        guard buffer[trailer] == kind.rawValue,
            buffer.loadUnaligned(fromByteOffset: trailer + 2, as: UInt32.self).bigEndian == checksum
        else { throw block.damaged("a block does not match its checksum") }
        switch BlockCompression(rawValue: compression) {
        case .none?: return block
        case .zlib: return try block.inflated()
        case nil:
            throw .incompatible(
                path: file.path,
                reason: "the block at offset \(handle.offset) has the unknown compression \(compression)")
        }
    }
}

/// Numbers of tables that nothing reads any more, waiting for the background lane to remove them. Any thread.
final class ObsoleteTables: Sendable {
    private let numbers = Mutex<[UInt64]>([])

    var isEmpty: Bool { numbers.withLock { $0.isEmpty } }

    func add(_ number: UInt64) {
        numbers.withLock { $0.append(number) }
    }

    func takeAll() -> [UInt64] {
        numbers.withLock { numbers in
            defer { numbers = [] }
            return numbers
        }
    }
}
