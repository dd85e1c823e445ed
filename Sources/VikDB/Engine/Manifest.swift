import NIOCore

/// The manifest in use: an append-only log of edits, named by CURRENT. Used by one background job at a time.
///
/// A new manifest, which begins with one edit that names everything, takes over at every start, after a failed append
/// and when the old one has grown; so a tail that may be torn is never appended to. It takes over by the rename of
/// CURRENT.tmp, once it is durable itself.
struct Manifest {
    /// How far a manifest grows beyond its first edit before a new one takes over.
    private static let growthBytes: UInt64 = 256 << 10
    /// The largest manifest that is read.
    private static let maxBytes: UInt64 = 1 << 30

    private let format: ManifestFormat
    private let file: any File
    private var end: UInt64
    private var durable: UInt64
    private let limit: UInt64
    /// Set while it is open whether the last append is in the file.
    private(set) var isBroken = false

    var number: UInt64 { format.number }
    var isFull: Bool { end > limit }

    /// Reads CURRENT. Nil: there is none.
    static func current(
        in directory: String, _ fileSystem: any FileSystem
    ) throws(StorageError) -> CurrentFile? {
        let path = EngineFile.current.path(in: directory)
        guard fileSystem.exists(path) else { return nil }
        return try CurrentFile.read(try readAll(try fileSystem.open(path, .read)), path: path)
    }

    /// Reads the manifest that `current` names.
    ///
    /// - Returns: the catalog that its records lead to, and how many bytes of what a crash left lie behind them.
    static func load(
        _ current: CurrentFile, from directory: String, _ fileSystem: any FileSystem,
        visit: (ManifestFormat.Record) -> Void = { _ in }
    ) throws(StorageError) -> (catalog: TableCatalog, end: UInt64, tornBytes: UInt64) {
        let format = ManifestFormat(
            number: current.manifest, path: EngineFile.manifest(current.manifest).path(in: directory))
        let bytes = try readAll(try fileSystem.open(format.path, .read))
        let (catalog, end) = try format.replay(bytes, durable: current.durableBytes, visit: visit)
        return (catalog, end, UInt64(bytes.readableBytes) - end)
    }

    /// Writes manifest `number` for `catalog` and makes it the one that counts.
    static func create(
        number: UInt64, for catalog: TableCatalog, in directory: String, _ fileSystem: any FileSystem
    ) throws(StorageError) -> Manifest {
        var payload = ByteBuffer()
        catalog.asEdit.write(into: &payload)
        let format = ManifestFormat(number: number, path: EngineFile.manifest(number).path(in: directory))
        var contents = format.header()
        contents.writeImmutableBuffer(format.record(payload, at: UInt64(contents.readableBytes), durable: 0))
        let end = UInt64(contents.readableBytes)
        let file = try writeNew(format.path, contents, fileSystem)
        var current = ByteBuffer()
        CurrentFile(manifest: number, durableBytes: end).write(into: &current)
        let temporary = EngineFile.currentTemporary.path(in: directory)
        do throws(StorageError) {
            if fileSystem.exists(temporary) { try fileSystem.remove(temporary) }
            _ = try writeNew(temporary, current, fileSystem)
            // The manifest's own name is durable before CURRENT can lead to it.
            try fileSystem.syncDirectory(directory)
        } catch {
            try? fileSystem.remove(format.path)
            throw error
        }
        do throws(StorageError) {
            try fileSystem.rename(temporary, to: EngineFile.current.path(in: directory))
        } catch {
            // Nothing was renamed, and the next try takes another number.
            if case .full = error { try? fileSystem.remove(format.path) }
            throw error
        }
        try fileSystem.syncDirectory(directory)
        return Manifest(
            format: format, file: file, end: end, durable: end,
            limit: end + max(growthBytes, end))
    }

    /// Appends `edit` and makes it durable.
    mutating func append(_ edit: VersionEdit) throws(StorageError) {
        precondition(!isBroken, "a new manifest takes over after a failed append")
        isBroken = true
        var payload = ByteBuffer()
        edit.write(into: &payload)
        let record = format.record(payload, at: end, durable: durable)
        try file.write(record, at: end)
        try file.sync()
        end += UInt64(record.readableBytes)
        durable = end
        // Not synced for its own sake: once the system writes it back, damage to the edit no longer looks torn.
        let mark = format.record(ByteBuffer(), at: end, durable: durable)
        try file.write(mark, at: end)
        end += UInt64(mark.readableBytes)
        isBroken = false
    }

    private static func writeNew(
        _ path: String, _ contents: ByteBuffer, _ fileSystem: any FileSystem
    ) throws(StorageError) -> any File {
        let file = try fileSystem.open(path, .create)
        do throws(StorageError) {
            try file.write(contents, at: 0)
            try file.sync()
        } catch {
            try? fileSystem.remove(path)
            throw error
        }
        return file
    }

    static func readAll(_ file: any File) throws(StorageError) -> ByteBuffer {
        let size = try file.size()
        guard size <= maxBytes else {
            throw .corrupt(
                path: file.path, offset: maxBytes, reason: "\(size) bytes, at most \(maxBytes) are possible")
        }
        return try file.bytes(at: 0, count: Int(size))
    }
}
