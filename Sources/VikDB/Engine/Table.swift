import Synchronization
import VikWire

/// One finished table, open or not. Immutable; reads may come from any thread.
///
/// Kept alive by the versions that name it. Once retired, its number goes to the list of files to remove when the
/// last version, view or cursor lets go of it; the background lane removes it.
final class Table: Sendable {
    let metadata: TableMetadata
    private let files: TableFiles
    private let slot = TableCache.Slot()
    private let isRetired = Atomic<Bool>(false)

    init(_ metadata: TableMetadata, in files: TableFiles) {
        self.metadata = metadata
        self.files = files
    }

    deinit {
        files.close(slot)
        if isRetired.load(ordering: .relaxed) { files.obsolete.add(metadata.number) }
    }

    /// No later version names this table.
    func retire() {
        isRetired.store(true, ordering: .relaxed)
    }

    /// The table, open for as long as the caller keeps it.
    func reader() throws(StorageError) -> TableReader {
        try files.reader(of: metadata, in: slot)
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
