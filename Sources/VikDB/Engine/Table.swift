import Synchronization
import VikWire

/// One open table file. Immutable; reads may come from any thread.
///
/// Kept alive by the versions that name it. Once retired, its number goes to the list of files to remove when the
/// last version, view or cursor lets go of it; the background lane removes it.
final class Table: Sendable {
    let metadata: TableMetadata
    let properties: TableProperties
    private let file: TableFile
    private let cache: BlockCache
    private let obsolete: ObsoleteTables
    private let isRetired = Atomic<Bool>(false)

    /// Opens a finished table: reads and verifies its footer and properties.
    init(
        _ metadata: TableMetadata, file: any File, cache: BlockCache, obsolete: ObsoleteTables
    ) throws(StorageError) {
        self.metadata = metadata
        self.cache = cache
        self.obsolete = obsolete
        self.file = try TableFile(file, expecting: metadata)
        properties = try self.file.properties(expecting: metadata)
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
        let filter = try block(file.footer.filter, .filter)
        let mayBeHere = withExtendedLifetime(filter) { BloomFilter.mayContain(hash, in: filter.bytes) }
        guard mayBeHere else { return .absent }
        var index = BlockCursor()
        try index.open(try block(file.footer.index, .index))
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
        try block(file.footer.index, .index)
    }

    /// The data block that an entry of the index leads to.
    func dataBlock(_ encodedHandle: UnsafeRawBufferPointer, fillCache: Bool) throws(StorageError) -> Block {
        try block(try file.dataHandle(encodedHandle), .data, fillCache: fillCache)
    }

    private func block(
        _ handle: BlockHandle, _ kind: BlockKind, fillCache: Bool = true
    ) throws(StorageError) -> Block {
        let key = BlockCache.Key(file: metadata.number, offset: handle.offset)
        if let cached = cache.block(key) { return cached }
        let block = try file.block(handle, kind)
        if fillCache { cache.insert(block, for: key) }
        return block
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
