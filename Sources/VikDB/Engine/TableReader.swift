import VikWire

/// A table that is open: its file, with filter and index in memory. Immutable; reads may come from any thread.
final class TableReader: Sendable {
    /// What it costs beyond its filter and index: objects, names, the descriptor's share.
    private static let overhead = 1_024

    private let file: TableFile
    private let filter: Block
    let index: Block
    private let cache: BlockCache

    /// Reads and verifies footer, filter and index.
    init(_ file: TableFile, cache: BlockCache) throws(StorageError) {
        self.file = file
        self.cache = cache
        filter = try file.block(file.footer.filter, .filter)
        index = try file.block(file.footer.index, .index)
    }

    /// Bytes of memory.
    var bytes: Int { filter.bytes.count + index.bytes.count + Self.overhead }

    /// Finds the newest version of the key of `target` within its bound. `hash` is that of the stem.
    func find(_ target: borrowing SearchKey, hash: UInt64) throws(StorageError) -> Lookup {
        guard BloomFilter.mayContain(hash, in: filter.bytes) else { return .absent }
        var index = BlockCursor()
        index.open(self.index)
        index.seek(target.bytes)
        guard index.isValid else { return .absent }
        var data = BlockCursor()
        data.open(try dataBlock(index.value, fillCache: true))
        data.seek(target.bytes)
        guard data.isValid,
            InternalKey.compareStems(InternalKey.stem(data.key), InternalKey.stem(target.bytes)) == 0
        else { return .absent }
        if InternalKey.isDelete(data.key) { return .deleted }
        return .found(StoredValue(bytes: [UInt8](data.value), version: InternalKey.index(data.key)))
    }

    /// The data block that an entry of the index leads to.
    func dataBlock(_ encodedHandle: UnsafeRawBufferPointer, fillCache: Bool) throws(StorageError) -> Block {
        let handle = try file.dataHandle(encodedHandle)
        let key = BlockCache.Key(file: file.number, offset: handle.offset)
        if let cached = cache.block(key) { return cached }
        let block = try file.block(handle, .data)
        if fillCache { cache.insert(block, for: key) }
        return block
    }
}
