import Glibc
import Logging
import VikDB

/// Reads the file of `-cluster-secret-file`. What is in it goes nowhere but into the secret.
enum SecretFile {
    static func read(_ path: String, _ logger: Logger) throws(StartError) -> ClusterSecret {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw unreadable(path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw unreadable(path) }
        guard let secret = ClusterSecret(fileContents: try contents(descriptor, path)) else {
            throw .flags(
                "-cluster-secret-file \(path): expected a secret of \(ClusterSecret.byteCount.lowerBound) to "
                    + "\(ClusterSecret.byteCount.upperBound) bytes")
        }
        if status.st_mode & (S_IRGRP | S_IROTH) != 0 {
            logger.warning(
                "the file of -cluster-secret-file is readable by others than its owner: chmod 600 it",
                metadata: ["path": "\(path)"])
        }
        return secret
    }

    /// The file, or the beginning of one that is too long.
    private static func contents(_ descriptor: Int32, _ path: String) throws(StartError) -> [UInt8] {
        // One for a newline, and one to tell that there is more.
        var bytes = [UInt8](repeating: 0, count: ClusterSecret.byteCount.upperBound + 2)
        var count = 0
        while count < bytes.count {
            let read = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress! + count, $0.count - count)
            }
            if read < 0, errno == EINTR { continue }
            guard read >= 0 else { throw unreadable(path) }
            if read == 0 { break }
            count += read
        }
        return Array(bytes.prefix(count))
    }

    private static func unreadable(_ path: String) -> StartError {
        .flags("cannot read -cluster-secret-file \(path): \(String(cString: strerror(errno)))")
    }
}
