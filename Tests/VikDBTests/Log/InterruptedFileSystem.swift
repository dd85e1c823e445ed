import Synchronization
import Testing
import VikDB
import VikTestSupport

/// A disk on which something happens once, around the next opening of a file for reading: what another thread may do
/// just then. Any thread.
final class InterruptedFileSystem: FileSystem {
    enum Moment {
        case before
        case after
    }

    private struct Interruption {
        let moment: Moment
        let work: @Sendable () throws -> Void
    }

    let disk = MemoryFileSystem()
    private let interruption = Mutex<Interruption?>(nil)

    func interrupt(_ moment: Moment, _ work: @escaping @Sendable () throws -> Void) {
        interruption.withLock { $0 = Interruption(moment: moment, work: work) }
    }

    private func reach(_ moment: Moment) {
        let due = interruption.withLock { interruption -> Interruption? in
            guard interruption?.moment == moment else { return nil }
            defer { interruption = nil }
            return interruption
        }
        #expect(throws: Never.self) { try due?.work() }
    }

    func open(_ path: String, _ mode: OpenMode) throws(StorageError) -> any File {
        guard mode == .read else { return try disk.open(path, mode) }
        reach(.before)
        let file = try disk.open(path, mode)
        reach(.after)
        return file
    }

    func createDirectory(_ path: String) throws(StorageError) { try disk.createDirectory(path) }
    func list(_ directory: String) throws(StorageError) -> [String] { try disk.list(directory) }
    func rename(_ source: String, to target: String) throws(StorageError) { try disk.rename(source, to: target) }
    func remove(_ path: String) throws(StorageError) { try disk.remove(path) }
    func exists(_ path: String) -> Bool { disk.exists(path) }
    func syncDirectory(_ directory: String) throws(StorageError) { try disk.syncDirectory(directory) }
    func availableBytes(_ directory: String) throws(StorageError) -> UInt64 { try disk.availableBytes(directory) }
    func lock(_ path: String, create: Bool) throws(StorageError) -> any FileLock {
        try disk.lock(path, create: create)
    }
}
