import Synchronization
import VikWire

/// One finished table, open or not. Immutable; reads may come from any thread.
///
/// Kept alive by the versions that name it. Once retired, its number goes to the list of files to remove when the
/// last version, view or cursor lets go of it; the background lane removes it.
///
/// `@unchecked Sendable`: the bytes of the two keys are never written after init.
final class Table: @unchecked Sendable {
    let metadata: TableMetadata
    /// First and last internal key, as in the metadata: a search compares them without counting references.
    let smallest: UnsafeRawBufferPointer
    let largest: UnsafeRawBufferPointer
    private let files: TableFiles
    private let slot = TableCache.Slot()
    private let isRetired = Atomic<Bool>(false)

    init(_ metadata: TableMetadata, in files: TableFiles) {
        self.metadata = metadata
        smallest = Self.copy(metadata.smallest)
        largest = Self.copy(metadata.largest)
        self.files = files
    }

    deinit {
        smallest.deallocate()
        largest.deallocate()
        files.close(slot)
        if isRetired.load(ordering: .relaxed) { files.obsolete.add(metadata.number) }
    }

    /// Whether a version of `stem` could lie in this table.
    @inline(__always)
    func covers(_ stem: UnsafeRawBufferPointer) -> Bool {
        InternalKey.compareStems(InternalKey.stem(smallest), stem) <= 0
            && InternalKey.compareStems(stem, InternalKey.stem(largest)) <= 0
    }

    /// No later version names this table.
    func retire() {
        isRetired.store(true, ordering: .relaxed)
    }

    /// The table, open for as long as the caller keeps it.
    func reader() throws(StorageError) -> TableReader {
        try files.reader(of: metadata, in: slot)
    }

    private static func copy(_ key: [UInt8]) -> UnsafeRawBufferPointer {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: key.count, alignment: 1)
        bytes.copyBytes(from: key)
        return UnsafeRawBufferPointer(bytes)
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
