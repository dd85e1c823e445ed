import CLinux
import Glibc

/// The file system of production: plain system calls, which block the thread that makes them.
///
/// A plain value; any thread.
package struct PosixFileSystem: FileSystem {
    private let shortage: DescriptorShortage?

    /// - Parameter shortage: waits where the system has no descriptor left for a file; nil: that is an error at once.
    package init(shortage: DescriptorShortage? = nil) {
        self.shortage = shortage
    }

    package func open(_ path: String, _ mode: OpenMode) throws(StorageError) -> any File {
        let access =
            switch mode {
            case .read: O_RDONLY
            case .readWrite: O_RDWR
            case .create: O_RDWR | O_CREAT | O_EXCL
            }
        return PosixFile(path: path, descriptor: try openDescriptor(path, access))
    }

    package func createDirectory(_ path: String) throws(StorageError) {
        var missing: [String] = []
        var ancestor = path
        while !isDirectory(ancestor) {
            missing.append(ancestor)
            ancestor = parent(of: ancestor)
        }
        for directory in missing.reversed() {
            if mkdir(directory, 0o700) != 0, errno != EEXIST || !isDirectory(directory) {
                throw failure("create directory", directory)
            }
            try syncDirectory(parent(of: directory))
        }
    }

    package func list(_ directory: String) throws(StorageError) -> [String] {
        var wait = DescriptorShortage.Wait()
        var opened = opendir(directory)
        while opened == nil, shortage?.passes(directory, errno, &wait) ?? false { opened = opendir(directory) }
        guard let stream = opened else { throw failure("list", directory) }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0  // the only way to tell readdir's failure from its end
            guard let item = readdir(stream) else {
                if errno != 0 { throw failure("list", directory) }
                break
            }
            let name = withUnsafeBytes(of: item.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    package func rename(_ source: String, to target: String) throws(StorageError) {
        guard Glibc.rename(source, target) == 0 else { throw failure("rename", source) }
    }

    package func remove(_ path: String) throws(StorageError) {
        guard unlink(path) == 0 else { throw failure("remove", path) }
    }

    package func exists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0
    }

    package func availableBytes(_ directory: String) throws(StorageError) -> UInt64 {
        let status = try status(ofFileSystemWith: directory)
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }

    package func availableFiles(_ directory: String) throws(StorageError) -> UInt64 {
        let status = try status(ofFileSystemWith: directory)
        // Without a number of inodes there is no limit but space.
        return status.f_files == 0 ? .max : UInt64(status.f_favail)
    }

    private func status(ofFileSystemWith directory: String) throws(StorageError) -> statvfs {
        var status = statvfs()
        guard statvfs(directory, &status) == 0 else {
            throw .io(operation: "statvfs", path: directory, code: errno)
        }
        return status
    }

    package func syncDirectory(_ directory: String) throws(StorageError) {
        let descriptor = try openDescriptor(directory, O_RDONLY | O_DIRECTORY, followsLinks: true)
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("sync directory", directory) }
    }

    package func lock(_ path: String, create: Bool) throws(StorageError) -> any FileLock {
        let lock = PosixFileLock(descriptor: try openDescriptor(path, create ? O_RDWR | O_CREAT : O_RDONLY))
        guard flock(lock.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw errno == EWOULDBLOCK ? .locked(path: path) : failure("lock", path)
        }
        return lock
    }

    package func canonicalPath(_ directory: String) -> String {
        var existing = directory
        var rest: [String] = []
        while true {
            if let resolved = realpath(existing, nil) {
                defer { free(resolved) }
                let path = String(cString: resolved)
                guard !rest.isEmpty else { return path }
                return ([path == "/" ? "" : path] + rest.reversed()).joined(separator: "/")
            }
            let parent = parent(of: existing)
            guard parent != existing else { return directory }
            if let name = existing.split(separator: "/").last, name != "." { rest.append(String(name)) }
            existing = parent
        }
    }

    /// Links to directories are the operator's own, files of a store are never links.
    private func openDescriptor(
        _ path: String, _ access: Int32, followsLinks: Bool = false
    ) throws(StorageError) -> Int32 {
        let flags = access | (followsLinks ? 0 : O_NOFOLLOW) | O_CLOEXEC
        var wait = DescriptorShortage.Wait()
        while true {
            let descriptor = Glibc.open(path, flags, 0o600)
            if descriptor >= 0 { return descriptor }
            let code = errno
            if code == EINTR || shortage?.passes(path, code, &wait) ?? false { continue }
            throw failure("open", path, code)
        }
    }

    private func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private func parent(of path: String) -> String {
        var rest = Substring(path)
        while rest.count > 1, rest.last == "/" { rest.removeLast() }
        guard let slash = rest.lastIndex(of: "/") else { return "." }
        return slash == rest.startIndex ? "/" : String(rest[..<slash])
    }
}

/// An open file; owns its descriptor. Any thread may read, one at a time writes: the kernel's positioned calls share
/// no state.
private final class PosixFile: File {
    let path: String
    private let descriptor: Int32

    init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    func size() throws(StorageError) -> UInt64 {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("stat", path) }
        return UInt64(status.st_size)
    }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = pread(descriptor, rest.baseAddress, rest.count, Int(offset) + done)
            if count == 0 { break }
            if count > 0 { done += count } else if errno != EINTR { throw failure("read", path) }
        }
        return done
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = pwrite(descriptor, rest.baseAddress, rest.count, Int(offset) + done)
            if count > 0 { done += count } else if count == 0 || errno != EINTR { throw failure("write", path) }
        }
    }

    func allocate(_ size: UInt64) throws(StorageError) {
        // Where the file system cannot reserve space, glibc writes to every block instead.
        while true {
            let code = posix_fallocate(descriptor, 0, Int(size))
            if code == 0 { return }
            if code != EINTR { throw failure("allocate", path, code) }
        }
    }

    func truncate(to size: UInt64) throws(StorageError) {
        while ftruncate(descriptor, Int(size)) != 0 {
            if errno != EINTR { throw failure("truncate", path) }
        }
    }

    func beginWriteback(at offset: UInt64, count: Int) {
        // Where it does nothing, the sync does all of it.
        _ = sync_file_range(descriptor, Int(offset), Int(count), VIK_SYNC_FILE_RANGE_WRITE)
    }

    func forgetCopies() {
        // Advice: to have ignored it harms nobody.
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    }

    func sync() throws(StorageError) {
        // Not even an interrupted call is made again: only a first call surely reports what happened to the data.
        guard fdatasync(descriptor) == 0 else { throw failure("sync", path) }
    }
}

/// Owns the descriptor whose advisory lock goes with it.
private final class PosixFileLock: FileLock {
    let descriptor: Int32

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }
}

/// The error for an errno, by default that of the call that just failed.
private func failure(_ operation: String, _ path: String, _ code: Int32 = errno) -> StorageError {
    code == ENOSPC || code == EDQUOT ? .full(path: path) : .io(operation: operation, path: path, code: code)
}
