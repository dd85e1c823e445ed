/// All I/O of the log and the engine goes through this port, so that the simulator and the crash tests run the very
/// code that production runs, on a disk that forgets what was not synced.
///
/// Calls block; they are made on job threads, never on an event loop. Implementations may be used from any thread.
package protocol FileSystem: Sendable {
    /// Opens a file for reading and, unless `mode` is `.read`, writing. Never follows a symbolic link to a file, as it
    /// follows those to directories; a new file has permissions 0600. `.create` fails if the file exists.
    func open(_ path: String, _ mode: OpenMode) throws(StorageError) -> any File
    /// Creates a directory and its parents; an existing one is fine. The new names are durable only once their parent
    /// is synced; the implementation syncs the parents it created.
    func createDirectory(_ path: String) throws(StorageError)
    /// Names in a directory, sorted, without "." and "..".
    func list(_ directory: String) throws(StorageError) -> [String]
    /// Atomically gives `source` the name `target`, replacing it. Durable once the directory is synced.
    func rename(_ source: String, to target: String) throws(StorageError)
    func remove(_ path: String) throws(StorageError)
    func exists(_ path: String) -> Bool
    /// The one name of a directory, whether it is there yet or not: absolute, without links, dots and doubled slashes.
    func canonicalPath(_ directory: String) -> String
    /// Makes names created, renamed and removed in `directory` durable.
    func syncDirectory(_ directory: String) throws(StorageError)
    /// Bytes that may still be written to the file system of `directory`.
    func availableBytes(_ directory: String) throws(StorageError) -> UInt64
    /// Files that may still be created on the file system of `directory`; .max: it has no limit, or tells none.
    func availableFiles(_ directory: String) throws(StorageError) -> UInt64
    /// Takes an exclusive advisory lock on `path`, released when the result goes away. Without `create` a file that is
    /// missing is an error, and nothing is changed.
    func lock(_ path: String, create: Bool) throws(StorageError) -> any FileLock
}

extension FileSystem {
    /// Where there are no links, and callers write names in one way.
    package func canonicalPath(_ directory: String) -> String { directory }

    package func availableFiles(_ directory: String) throws(StorageError) -> UInt64 { .max }
}

package enum OpenMode: Sendable {
    case read
    case readWrite
    case create
}

/// An open file, closed when the last reference goes. Reads may run on any thread; one writer at a time.
package protocol File: AnyObject, Sendable {
    var path: String { get }
    func size() throws(StorageError) -> UInt64
    /// Reads up to `buffer.count` bytes at `offset`; fewer only at the end of the file.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int
    /// Writes all bytes at `offset`; the file grows as needed.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError)
    /// Reserves `size` bytes that read as zeros, so that later writes neither grow the file nor run out of space.
    func allocate(_ size: UInt64) throws(StorageError)
    func truncate(to size: UInt64) throws(StorageError)
    /// Asks the system to begin writing out `count` bytes at `offset` that were written, and does not wait for it. It
    /// makes nothing durable; but a later sync finds little left to do, and so do the syncs of other files, which on
    /// some file systems wait for this one's data.
    func beginWriteback(at offset: UInt64, count: Int)
    /// Says that what was read so far will not be read again soon: the system may forget its copies of what is durable.
    func forgetCopies()
    /// Makes data durable (fdatasync). A failure is final: never retried, the caller stops (proof scenario 30).
    func sync() throws(StorageError)
}

package protocol FileLock: AnyObject, Sendable {}

/// Everything that can go wrong below the log and the engine.
package enum StorageError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A system call failed; `code` is its errno.
    case io(operation: String, path: String, code: Int32)
    /// The device or quota is full.
    case full(path: String)
    /// Another process holds the lock.
    case locked(path: String)
    /// Bytes on disk are not what was written. Never repaired silently.
    case corrupt(path: String, offset: UInt64, reason: String)
    /// The files are of a version this build does not know, or belong to another store.
    case incompatible(path: String, reason: String)
    /// The files are in order, but not what they were, or not what the cluster's are.
    case rolledBack(path: String, reason: String)

    package var description: String {
        switch self {
        case .io(let operation, let path, let code): "\(operation) \(path): \(errorText(code))"
        case .full(let path): "no space left on the device of \(path)"
        case .locked(let path): "\(path) is locked by another running vikdb"
        case .corrupt(let path, let offset, let reason): "\(path) is corrupt at offset \(offset): \(reason)"
        case .incompatible(let path, let reason), .rolledBack(let path, let reason): "\(path): \(reason)"
        }
    }
}
