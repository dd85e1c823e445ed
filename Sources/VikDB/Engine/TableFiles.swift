import NIOCore
import Synchronization

/// The table files of one directory: gives out numbers, creates, opens and removes. A plain value for any thread, but
/// only the background lane removes tables that a manifest has named.
struct TableFiles: Sendable {
    private let directory: String
    private let fileSystem: any FileSystem
    private let blocks: BlockCache
    private let tables: TableCache
    let obsolete: ObsoleteTables
    private let options: EngineOptions
    private let numbers: FileNumbers

    init(
        directory: String, fileSystem: any FileSystem, blocks: BlockCache, tables: TableCache,
        obsolete: ObsoleteTables, options: EngineOptions, nextNumber: UInt64
    ) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.blocks = blocks
        self.tables = tables
        self.obsolete = obsolete
        self.options = options
        numbers = FileNumbers(next: nextNumber)
    }

    /// Above all numbers given out so far.
    var nextNumber: UInt64 { numbers.next }

    func takeNumber() -> UInt64 { numbers.take() }

    func create() throws(StorageError) -> NewTable {
        let number = takeNumber()
        let file = try fileSystem.open(path(number), .create)
        return NewTable(number: number, table: TableWriter(file: file, number: number, options: options))
    }

    /// A table that a manifest is to name, after a look at its footer and its properties.
    func open(_ metadata: TableMetadata) throws(StorageError) -> Table {
        var metadata = metadata
        let properties = try file(metadata).properties(expecting: metadata)
        metadata.tombstones = properties.tombstones
        metadata.tombstoneBytes = properties.tombstoneBytes(of: metadata.fileBytes)
        return Table(metadata, in: self)
    }

    /// The table of `slot` in the cache of tables.
    func reader(of metadata: TableMetadata, in slot: TableCache.Slot) throws(StorageError) -> TableReader {
        try tables.reader(in: slot) { () throws(StorageError) in
            try TableReader(try file(metadata), cache: blocks)
        }
    }

    func close(_ slot: TableCache.Slot) {
        tables.close(slot)
    }

    private func file(_ metadata: TableMetadata) throws(StorageError) -> TableFile {
        let path = path(metadata.number)
        guard fileSystem.exists(path) else { throw Self.missing(path) }
        return try TableFile(try fileSystem.open(path, .read), expecting: metadata)
    }

    /// Makes a file, and takes it away again.
    func probe() throws(StorageError) {
        let number = takeNumber()
        let path = path(number)
        let file = try fileSystem.open(path, .create)
        do throws(StorageError) {
            try file.write(ByteBuffer(repeating: 0, count: Self.probeBytes), at: 0)
            try file.sync()
            try fileSystem.remove(path)
        } catch {
            // Until it is gone no other one is made.
            do throws(StorageError) { try fileSystem.remove(path) } catch { obsolete.add(number) }
            throw error
        }
    }

    private static let probeBytes = 4 << 10

    /// Bytes that may still be written there.
    func availableBytes() throws(StorageError) -> UInt64 {
        try fileSystem.availableBytes(directory)
    }

    static func missing(_ path: String) -> StorageError {
        .corrupt(path: path, offset: 0, reason: "a table that the manifest names is missing")
    }

    /// Makes the names of new tables durable.
    func syncNames() throws(StorageError) {
        try fileSystem.syncDirectory(directory)
    }

    /// Removes a table that no manifest names. One that cannot be removed now is an orphan, removed at the next start.
    func discard(_ number: UInt64) {
        try? fileSystem.remove(path(number))
    }

    /// Removes tables that were retired and are no longer read.
    func removeObsolete() throws(StorageError) {
        var rest = obsolete.takeAll()[...]
        do throws(StorageError) {
            while let number = rest.first {
                try fileSystem.remove(path(number))
                rest.removeFirst()
            }
        } catch {
            // The next job goes on with them.
            for number in rest { obsolete.add(number) }
            throw error
        }
    }

    private func path(_ number: UInt64) -> String {
        EngineFile.table(number).path(in: directory)
    }
}

/// Gives out the numbers of files, each of them once. Any thread: a snapshot is written beside flushes and merges.
private final class FileNumbers: Sendable {
    private let counter: Atomic<UInt64>

    init(next: UInt64) {
        counter = Atomic(next)
    }

    var next: UInt64 { counter.load(ordering: .relaxed) }

    func take() -> UInt64 { counter.add(1, ordering: .relaxed).oldValue }
}

/// A table being written.
struct NewTable {
    let number: UInt64
    let table: TableWriter
}
