import Glibc
import NIOCore
import Testing
import VikDB
import VikWire

/// The production file system against a real directory.
@Suite struct PosixFileSystemTests {
    private let fileSystem = PosixFileSystem()

    @Test func bytesAreWrittenAndRead() throws {
        try withTemporaryDirectory { root in
            let file = try fileSystem.open(root + "/file", .create)
            try file.allocate(10_000)
            #expect(try file.size() == 10_000)
            try file.write(ByteBuffer(string: "vik"), at: 4095)
            try file.sync()
            #expect(try file.bytes(at: 4094, count: 5) == ByteBuffer(bytes: [0, 0x76, 0x69, 0x6b, 0]))
            #expect(try file.bytes(at: 9_999, count: 100).readableBytes == 1)
            try file.truncate(to: 4097)
            let again = try fileSystem.open(root + "/file", .read)
            #expect(try again.size() == 4097)
            #expect(try again.bytes(at: 4095, count: 10) == ByteBuffer(string: "vi"))
            #expect(throws: StorageError.io(operation: "write", path: root + "/file", code: EBADF)) {
                try again.write(ByteBuffer(string: "x"), at: 0)
            }
            var status = stat()
            #expect(stat(root + "/file", &status) == 0 && status.st_mode & 0o777 == 0o600)
        }
    }

    @Test func namesAreCreatedRenamedAndRemoved() throws {
        try withTemporaryDirectory { root in
            let directory = root + "/a/b//c/"
            try fileSystem.createDirectory(directory)
            try fileSystem.createDirectory(directory)
            _ = try fileSystem.open(directory + "/2", .create)
            _ = try fileSystem.open(directory + "/1", .create)
            #expect(throws: StorageError.io(operation: "open", path: directory + "/1", code: EEXIST)) {
                _ = try fileSystem.open(directory + "/1", .create)
            }
            #expect(try fileSystem.list(directory) == ["1", "2"])
            try fileSystem.rename(directory + "/1", to: directory + "/2")
            try fileSystem.syncDirectory(directory)
            #expect(try fileSystem.list(directory) == ["2"])
            #expect(fileSystem.exists(directory + "/2") && !fileSystem.exists(directory + "/1"))
            try fileSystem.remove(directory + "/2")
            #expect(throws: StorageError.io(operation: "open", path: directory + "/2", code: ENOENT)) {
                _ = try fileSystem.open(directory + "/2", .readWrite)
            }
            #expect(throws: StorageError.self) { try fileSystem.list(root + "/none") }
        }
    }

    @Test func symbolicLinksAreNotFollowed() throws {
        try withTemporaryDirectory { root in
            _ = try fileSystem.open(root + "/file", .create)
            #expect(symlink(root + "/file", root + "/link") == 0)
            for mode in [OpenMode.read, .readWrite, .create] {
                #expect(throws: StorageError.self) { _ = try fileSystem.open(root + "/link", mode) }
            }
        }
    }

    /// Those to directories are the operator's own.
    @Test func linksToDirectoriesAreFollowed() throws {
        try withTemporaryDirectory { root in
            try fileSystem.createDirectory(root + "/real")
            #expect(symlink(root + "/real", root + "/link") == 0)
            for directory in [root + "/link", root + "/link/below/it"] {
                try fileSystem.createDirectory(directory)
                _ = try fileSystem.open(directory + "/file", .create)
                try fileSystem.syncDirectory(directory)
                #expect(try fileSystem.list(directory).contains("file"))
                _ = try fileSystem.lock(directory + "/lock", create: true)
            }
            #expect(fileSystem.exists(root + "/real/below/it/file"))
            #expect(symlink(root + "/none", root + "/broken") == 0)
            #expect(throws: StorageError.io(operation: "create directory", path: root + "/broken", code: ENOENT)) {
                try fileSystem.createDirectory(root + "/broken")
            }
            #expect(symlink("loop", root + "/loop") == 0)
            #expect(throws: StorageError.self) { try fileSystem.createDirectory(root + "/loop/wal") }
        }
    }

    @Test func aDirectoryHasOneCanonicalPath() throws {
        try withTemporaryDirectory { root in
            try fileSystem.createDirectory(root + "/real")
            #expect(symlink(root + "/real", root + "/link") == 0)
            let root = fileSystem.canonicalPath(root)
            for name in ["real", "real/", "./real", "link", "link/.", "real/../link", "real//"] {
                #expect(fileSystem.canonicalPath(root + "/" + name) == root + "/real", "\(name)")
                #expect(fileSystem.canonicalPath(root + "/" + name + "/new/./er/") == root + "/real/new/er", "\(name)")
            }
            #expect(fileSystem.canonicalPath("/") == "/")
            #expect(fileSystem.canonicalPath("/vikdb-none/x") == "/vikdb-none/x")
            #expect(fileSystem.canonicalPath("vikdb-none") == fileSystem.canonicalPath("./vikdb-none/"))
            #expect(fileSystem.canonicalPath("vikdb-none").hasPrefix("/"))
        }
    }

    /// By whatever names: the two must be two, and one may lie in the other.
    @Test func directoriesOfAStoreByOtherNames() throws {
        try withTemporaryDirectory { root in
            func open(_ log: String, _ tables: String) throws(StorageError) {
                var random = SystemRandomNumberGenerator()
                _ = try StoreIdentity.open(
                    walDirectory: root + log, tableDirectory: root + tables, fileSystem: fileSystem, using: &random)
            }
            #expect(
                throws: StorageError.incompatible(
                    path: root + "/./x", reason: "log and tables need a directory each")
            ) { try open("/./x", "/x") }
            #expect(!fileSystem.exists(root + "/x"), "nothing is created")
            try fileSystem.createDirectory(root + "/real")
            #expect(symlink(root + "/real", root + "/link") == 0)
            #expect(throws: StorageError.self) { try open("/real", "/link/") }
            try open("/link", "/./real/tables")
            try open("/real/.", "/link/tables")
        }
    }

    @Test func aLockIsExclusiveUntilItGoes() throws {
        try withTemporaryDirectory { root in
            var lock: (any FileLock)? = try fileSystem.lock(root + "/lock", create: true)
            #expect(throws: StorageError.locked(path: root + "/lock")) {
                _ = try fileSystem.lock(root + "/lock", create: true)
            }
            #expect(lock != nil)
            lock = nil
            _ = try fileSystem.lock(root + "/lock", create: true)
        }
    }

    @Test func aLogLivesInARealDirectory() throws {
        try withTemporaryDirectory { root in
            let options = LogOptions(segmentBytes: 64 << 10)
            let entries = (1...2000).map { logEntry($0, bytes: 100) }
            let (store, _) = try LogStore.open(directory: root + "/wal", fileSystem: fileSystem, options: options)
            for first in stride(from: 0, to: 2000, by: 100) {
                try store.append(Array(entries[first..<first + 100]))
                try store.sync()
            }
            try store.save(HardState(term: 3, vote: MemberID(rawValue: 4), commit: 5))
            let (reopened, recovered) = try LogStore.open(
                directory: root + "/wal", fileSystem: fileSystem, options: options)
            #expect(try everything(in: reopened, recovered) == entries)
            #expect(recovered.hardState == HardState(term: 3, vote: MemberID(rawValue: 4), commit: 5))
        }
    }

    @Test func aLogGivesSpaceBackInARealDirectory() throws {
        try withTemporaryDirectory { root in
            let options = LogOptions(segmentBytes: 64 << 10)
            let (store, _) = try LogStore.open(directory: root + "/wal", fileSystem: fileSystem, options: options)
            for first in stride(from: UInt64(1), to: 20_000, by: 100) {
                try store.append((first..<first + 100).map { logEntry($0, bytes: 100) })
                store.allowDiscard(through: first)
                if store.hasDiscarded { try store.removeDiscarded() }
            }
            try store.sync()
            // Five groups fill a segment.
            #expect(store.bytesOnDisk == 128 << 10 && store.base == LogBase(index: 19_000, term: 1))
            let segments = try fileSystem.list(root + "/wal").filter { $0.hasSuffix(".log") }
            #expect(segments.count == 2)
            let (reopened, recovered) = try LogStore.open(
                directory: root + "/wal", fileSystem: fileSystem, options: options)
            #expect(reopened.base == store.base)
            let expected = (recovered.firstIndex...20_000).map { logEntry($0, bytes: 100) }
            #expect(try everything(in: reopened, recovered) == expected)
        }
    }
}
