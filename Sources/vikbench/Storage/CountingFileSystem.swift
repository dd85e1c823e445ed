import Synchronization
import VikDB

/// Production's file system, which counts the bytes written to log and tables. A plain value for any thread.
struct CountingFileSystem: FileSystem {
    private let posix = PosixFileSystem()
    private let logDirectory: String
    private let logBytes = WrittenBytes()
    private let tableBytes = WrittenBytes()

    /// Everything outside of `logDirectory` counts as the tables'.
    init(logDirectory: String) {
        self.logDirectory = logDirectory
    }

    /// So far.
    var written: (log: Int, tables: Int) { (logBytes.total, tableBytes.total) }

    func open(_ path: String, _ mode: OpenMode) throws(StorageError) -> any File {
        CountingFile(
            try posix.open(path, mode), counter: path.hasPrefix(logDirectory + "/") ? logBytes : tableBytes)
    }

    func createDirectory(_ path: String) throws(StorageError) { try posix.createDirectory(path) }
    func list(_ directory: String) throws(StorageError) -> [String] { try posix.list(directory) }
    func rename(_ source: String, to target: String) throws(StorageError) { try posix.rename(source, to: target) }
    func remove(_ path: String) throws(StorageError) { try posix.remove(path) }
    func exists(_ path: String) -> Bool { posix.exists(path) }
    func syncDirectory(_ directory: String) throws(StorageError) { try posix.syncDirectory(directory) }
    func availableBytes(_ directory: String) throws(StorageError) -> UInt64 { try posix.availableBytes(directory) }
    func lock(_ path: String, create: Bool) throws(StorageError) -> any FileLock { try posix.lock(path, create: create) }
}

/// Any thread.
private final class WrittenBytes: Sendable {
    private let bytes = Atomic<Int>(0)

    var total: Int { bytes.load(ordering: .relaxed) }

    func add(_ count: Int) { bytes.add(count, ordering: .relaxed) }
}

/// A file that reports what is written to it; any thread, as the file within.
private final class CountingFile: File {
    private let file: any File
    private let counter: WrittenBytes

    init(_ file: any File, counter: WrittenBytes) {
        self.file = file
        self.counter = counter
    }

    var path: String { file.path }
    func size() throws(StorageError) -> UInt64 { try file.size() }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int {
        try file.read(at: offset, into: buffer)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
        try file.write(bytes, at: offset)
        counter.add(bytes.count)
    }

    func allocate(_ size: UInt64) throws(StorageError) { try file.allocate(size) }
    func truncate(to size: UInt64) throws(StorageError) { try file.truncate(to: size) }
    func beginWriteback(at offset: UInt64, count: Int) { file.beginWriteback(at: offset, count: count) }
    func forgetCopies() { file.forgetCopies() }
    func sync() throws(StorageError) { try file.sync() }
}
