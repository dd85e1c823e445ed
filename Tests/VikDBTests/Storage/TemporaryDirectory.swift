import Glibc
import VikDB

/// A directory of its own for one test, removed with all that is in it.
func withTemporaryDirectory(_ body: (_ path: String) throws -> Void) throws {
    var template = Array("/tmp/vikdb-test-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil, "a temporary directory")
    let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    defer { removeTree(path) }
    try body(path)
}

/// Symbolic links are removed, not followed: `unlink` refuses directories alone.
private func removeTree(_ path: String) {
    if unlink(path) == 0 { return }
    for name in (try? PosixFileSystem().list(path)) ?? [] { removeTree(path + "/" + name) }
    rmdir(path)
}
