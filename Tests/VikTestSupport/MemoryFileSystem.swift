import Glibc
import Synchronization
import VikDB

/// A disk that forgets: what was not synced when it crashes is lost, kept or torn, as a seeded generator decides.
///
/// Written bytes are durable once their file is synced; names that were created, renamed or removed are durable once
/// their directory is synced. Any thread; the whole disk is one value behind one lock.
package final class MemoryFileSystem: FileSystem {
    /// What a crash does to bytes and names that were not synced.
    package enum Keep: Sendable, CaseIterable {
        case none
        case all
        /// Each 512-byte sector holds any of the states it went through, whatever its neighbours hold; each change of
        /// a directory happened or not, whatever happened to those before it.
        case random
    }

    private let disk: Mutex<Disk>

    /// - Parameter capacity: bytes that fit; what exceeds them fails as a full device does.
    package init(capacity: Int = .max) {
        disk = Mutex(Disk(capacity: capacity))
    }

    private init(_ disk: Disk) {
        self.disk = Mutex(disk)
    }

    package func open(_ path: String, _ mode: OpenMode) throws(StorageError) -> any File {
        try call("open", path) { disk throws(StorageError) in
            let id = try disk.open(path, mode)
            return MemoryFile(path: path, id: id, epoch: disk.epoch, fileSystem: self)
        }
    }

    package func createDirectory(_ path: String) throws(StorageError) {
        try call("create directory", path) { disk throws(StorageError) in disk.createDirectory(path) }
    }

    package func list(_ directory: String) throws(StorageError) -> [String] {
        try call("list", directory) { disk throws(StorageError) in try disk.list(directory) }
    }

    package func rename(_ source: String, to target: String) throws(StorageError) {
        try call("rename", source) { disk throws(StorageError) in try disk.rename(source, to: target) }
    }

    package func remove(_ path: String) throws(StorageError) {
        try call("remove", path) { disk throws(StorageError) in try disk.remove(path) }
    }

    package func exists(_ path: String) -> Bool {
        disk.withLock { $0.exists(path) }
    }

    package func availableBytes(_ directory: String) throws(StorageError) -> UInt64 {
        disk.withLock { disk in UInt64(max(0, disk.capacity - disk.usedBytes)) }
    }

    package func availableFiles(_ directory: String) throws(StorageError) -> UInt64 {
        disk.withLock { disk in UInt64(max(0, disk.fileCapacity - disk.fileCount)) }
    }

    package func syncDirectory(_ directory: String) throws(StorageError) {
        try call("sync directory", directory) { disk throws(StorageError) in try disk.syncDirectory(directory) }
    }

    package func lock(_ path: String, create: Bool) throws(StorageError) -> any FileLock {
        try call("lock", path) { disk throws(StorageError) in
            try disk.lock(path, create: create)
            return MemoryFileLock(path: path, epoch: disk.epoch, fileSystem: self)
        }
    }

    /// One call of the port: counted, and failed if a fault is due.
    fileprivate func call<Result>(
        _ operation: String, _ path: String, onFault: (inout Disk) -> Void = { _ in },
        _ body: (inout Disk) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        let outcome: Swift.Result<Transferred<Result>, StorageError> = disk.withLock { disk in
            do throws(StorageError) {
                if let error = try disk.countCall(operation, path) {
                    onFault(&disk)
                    throw error
                }
                return .success(Transferred(value: try body(&disk)))
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get().value
    }

    fileprivate func close(_ id: Int, epoch: Int) {
        disk.withLock { $0.close(id, epoch: epoch) }
    }

    fileprivate func unlock(_ path: String, epoch: Int) {
        disk.withLock { $0.unlock(path, epoch: epoch) }
    }
}

// MARK: - What tests do to the disk

extension MemoryFileSystem {
    /// The errno of every call after the crash point, until the crash itself.
    package static let crashedCode = ENODEV

    /// Power loss and restart: unsynced bytes and names survive as `keep` says, all open files and locks are gone,
    /// and faults that were set are cleared.
    package func crash(keep: Keep, using generator: inout some RandomNumberGenerator) {
        disk.withLock { $0.crash(keep: keep, using: &generator) }
    }

    /// Another disk with what a power loss at this moment would certainly leave of this one.
    package func durableCopy() -> MemoryFileSystem {
        var copy = disk.withLock { $0 }
        var unused = SystemRandomNumberGenerator()
        copy.crash(keep: .none, using: &unused)
        return MemoryFileSystem(copy)
    }

    /// Another disk in the same state, on which no process runs.
    package func copy() -> MemoryFileSystem {
        var copy = disk.withLock { $0 }
        copy.killProcess()
        return MemoryFileSystem(copy)
    }

    /// The process dies, the machine does not: nothing is lost, but nothing more is durable either.
    package func killProcess() {
        disk.withLock { $0.killProcess() }
    }

    /// Calls of the port so far, failed ones included; `exists` is not counted, because it cannot fail.
    package var callCount: Int { disk.withLock { $0.callCount } }

    /// Lets `count` more calls succeed; those after it fail until the crash.
    package func crashAfter(calls count: Int) {
        disk.withLock { $0.crashPoint = $0.callCount + count }
    }

    /// Whether a call was refused because of ``crashAfter(calls:)``.
    package var hasReachedCrashPoint: Bool { disk.withLock { $0.callCount > $0.crashPoint } }

    /// Fails the call after the next `count` ones, once, with this errno (`ENOSPC`: as a full device). A write that
    /// fails has written its first half; a sync that fails loses what it should have made durable.
    package func failCall(after count: Int, code: Int32) {
        disk.withLock { $0.fault = (call: $0.callCount + count + 1, code: code) }
    }

    /// Changes one byte, both in the cache and on the medium.
    package func corrupt(_ path: String, at offset: Int, xor mask: UInt8) {
        disk.withLock { $0.corrupt(path, at: offset, xor: mask) }
    }

    /// The bytes of a file as a reader sees them now.
    package func contents(of path: String) -> [UInt8]? {
        disk.withLock { $0.contents(of: path) }
    }

    /// Bytes that may be stored; lowering it fills the disk.
    package var capacity: Int {
        get { disk.withLock { $0.capacity } }
        set { disk.withLock { $0.capacity = newValue } }
    }

    /// Files that there may be; lowering it uses up the inodes.
    package var fileCapacity: Int {
        get { disk.withLock { $0.fileCapacity } }
        set { disk.withLock { $0.fileCapacity = newValue } }
    }

    package var fileCount: Int { disk.withLock { $0.fileCount } }

    package var usedBytes: Int { disk.withLock { $0.usedBytes } }

    package var openFileCount: Int { disk.withLock { $0.openFileCount } }
}

/// Carries a value out of the lock's region. The value is made by the port's own calls: a Sendable value, or a fresh
/// object that the disk keeps no reference to.
private struct Transferred<Value>: @unchecked Sendable {
    let value: Value
}

/// An open file: a name for a node of the disk, dead after a crash.
private final class MemoryFile: File {
    let path: String
    private let id: Int
    private let epoch: Int
    private let fileSystem: MemoryFileSystem

    init(path: String, id: Int, epoch: Int, fileSystem: MemoryFileSystem) {
        self.path = path
        self.id = id
        self.epoch = epoch
        self.fileSystem = fileSystem
    }

    deinit {
        fileSystem.close(id, epoch: epoch)
    }

    func size() throws(StorageError) -> UInt64 {
        try call("stat") { node throws(StorageError) in UInt64(node.current.size) }
    }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int {
        try call("read") { node throws(StorageError) in node.current.read(at: Int(offset), into: buffer) }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
        let half = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)])
        try fileSystem.call("write", path) { disk in
            disk.nodes[id]?.apply(.write(offset: Int(offset), bytes: Array(half)))
        } _: { disk throws(StorageError) in
            try disk.write(bytes, at: Int(offset), to: id, epoch: epoch, path: path)
        }
    }

    func allocate(_ size: UInt64) throws(StorageError) {
        try fileSystem.call("allocate", path) { disk throws(StorageError) in
            try disk.allocate(Int(size), to: id, epoch: epoch, path: path)
        }
    }

    func truncate(to size: UInt64) throws(StorageError) {
        try call("truncate") { node throws(StorageError) in node.apply(.resize(Int(size))) }
    }

    func beginWriteback(at offset: UInt64, count: Int) {}

    func forgetCopies() {}

    func sync() throws(StorageError) {
        try fileSystem.call("sync", path) { disk in
            disk.nodes[id]?.forgetPending()
        } _: { disk throws(StorageError) in
            try disk.withNode(id, epoch: epoch, "sync", path) { node throws(StorageError) in node.sync() }
        }
    }

    private func call<Result>(
        _ operation: String, _ body: (inout Node) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        try fileSystem.call(operation, path) { disk throws(StorageError) in
            try disk.withNode(id, epoch: epoch, operation, path, body)
        }
    }
}

private final class MemoryFileLock: FileLock {
    private let path: String
    private let epoch: Int
    private let fileSystem: MemoryFileSystem

    init(path: String, epoch: Int, fileSystem: MemoryFileSystem) {
        self.path = path
        self.epoch = epoch
        self.fileSystem = fileSystem
    }

    deinit {
        fileSystem.unlock(path, epoch: epoch)
    }
}
