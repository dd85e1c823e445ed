import NIOCore
import VikWire

/// Who a store is: a pair of directories that belong together, named by a random id kept in both (design rule 7).
///
/// Owns the locks of both directories for as long as it lives; any thread.
package final class StoreIdentity: Sendable {
    package let id: StoreID
    private let locks: [any FileLock]

    private init(id: StoreID, locks: [any FileLock]) {
        self.id = id
        self.locks = locks
    }

    /// Locks both directories and reads the id in them; at the first start creates all three.
    ///
    /// Only directories without anything else get an id: one that lost its id, or belongs to another store, is an
    /// error, because a member that starts with half of its memory breaks the promises of the other half.
    package static func open(
        walDirectory: String, tableDirectory: String, fileSystem: any FileSystem,
        using generator: inout some RandomNumberGenerator
    ) throws(StorageError) -> StoreIdentity {
        guard fileSystem.canonicalPath(walDirectory) != fileSystem.canonicalPath(tableDirectory) else {
            throw .incompatible(path: walDirectory, reason: "log and tables need a directory each")
        }
        let directories = [walDirectory, tableDirectory]
        var locks: [any FileLock] = []
        var ids: [StoreID?] = []
        for directory in directories {
            try fileSystem.createDirectory(directory)
            locks.append(try fileSystem.lock(directory + "/" + lockName, create: true))
            ids.append(try stored(in: directory, fileSystem))
        }
        if let id = ids[0], id == ids[1] {
            // Names that a killed process left unsynced count from here on.
            for directory in directories { try fileSystem.syncDirectory(directory) }
            return StoreIdentity(id: id, locks: locks)
        }
        if ids[0] != nil, ids[1] != nil {
            throw .incompatible(
                path: walDirectory, reason: "belongs to another store than \(tableDirectory)")
        }
        let paths = directories.map { fileSystem.canonicalPath($0) + "/" }
        for (directory, path) in zip(directories, paths) {
            // One may lie in the other, or be a link in it.
            let data = try fileSystem.list(directory).first { name in
                let place = fileSystem.canonicalPath(path + name) + "/"
                return !ownNames.contains(name) && !paths.contains { $0.hasPrefix(place) }
            }
            if let data {
                let lacking = ids[0] == nil ? walDirectory : tableDirectory
                let other = ids[0] == nil ? tableDirectory : walDirectory
                throw .incompatible(
                    path: lacking,
                    reason: "has no store-id, but the store that it forms with \(other) is not new "
                        + "(\(directory)/\(data) exists)")
            }
        }
        let id = ids[0] ?? ids[1] ?? StoreID(using: &generator)
        for (directory, found) in zip(directories, ids) where found == nil {
            try write(id, directory, fileSystem)
        }
        return StoreIdentity(id: id, locks: locks)
    }

    /// Takes the lock of a directory that no process may use meanwhile, and changes nothing there. Nil: there is none,
    /// because no node has ever run there.
    static func lock(_ directory: String, _ fileSystem: any FileSystem) throws(StorageError) -> (any FileLock)? {
        let path = directory + "/" + lockName
        return fileSystem.exists(path) ? try fileSystem.lock(path, create: false) : nil
    }

    static let fileName = "store-id"
    private static let lockName = "lock"
    /// What may lie in a directory that counts as empty, the root of a volume included.
    private static let ownNames = [fileName, fileName + ".tmp", lockName, "lost+found"]
    static let magic: UInt64 = 0x56_69_6b_44_42_2d_69_64  // "VikDB-id"
    private static let version: UInt32 = 1
    private static let byteCount = 32

    private static func write(
        _ id: StoreID, _ directory: String, _ fileSystem: any FileSystem
    ) throws(StorageError) {
        var bytes = ByteBuffer()
        bytes.writeMultipleIntegers(magic, version, id.high, id.low)
        bytes.writeInteger(Checksum.crc32(bytes))
        let path = directory + "/" + fileName
        let temporary = path + ".tmp"
        if fileSystem.exists(temporary) { try fileSystem.remove(temporary) }
        let file = try fileSystem.open(temporary, .create)
        try file.write(bytes, at: 0)
        try file.sync()
        try fileSystem.rename(temporary, to: path)
        try fileSystem.syncDirectory(directory)
    }

    /// Whether `directory` is, or was, one of a store.
    static func isIn(_ directory: String, _ fileSystem: any FileSystem) -> Bool {
        fileSystem.exists(directory + "/" + fileName)
    }

    /// The id in a directory; nil: there is none.
    static func stored(in directory: String, _ fileSystem: any FileSystem) throws(StorageError) -> StoreID? {
        let path = directory + "/" + fileName
        guard fileSystem.exists(path) else { return nil }
        return try read(try fileSystem.open(path, .read))
    }

    static func read(_ file: any File) throws(StorageError) -> StoreID {
        let path = file.path
        let bytes = try file.bytes(at: 0, count: byteCount)
        guard
            let (magic, version, high, low, checksum) = bytes.getMultipleIntegers(
                at: 0, as: (UInt64, UInt32, UInt64, UInt64, UInt32).self),
            magic == Self.magic, checksum == Checksum.crc32(bytes.getSlice(at: 0, length: byteCount - 4)!)
        else { throw .corrupt(path: path, offset: 0, reason: "the store id does not match its checksum") }
        guard version == Self.version else {
            throw .incompatible(path: path, reason: "store format \(version) is not known, this build reads 1")
        }
        return StoreID(high: high, low: low)
    }
}
