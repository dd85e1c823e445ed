import Glibc

/// A pipe with a name that takes what it has room for, and that nobody reads until the test does.
final class UnreadPipe: Sendable {
    private let directory = TemporaryDirectory()
    private let descriptor: Int32
    var path: String { directory.path + "/pipe" }

    init() {
        let path = directory.path + "/pipe"
        precondition(mkfifo(path, 0o600) == 0, "cannot make a pipe")
        // Without blocking for this descriptor alone: others open the name anew.
        descriptor = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        precondition(descriptor >= 0, "cannot open a pipe")
    }

    deinit {
        close(descriptor)
    }

    /// What a command begins with whose standard error goes there.
    var prefix: [String] { ["/bin/sh", "-c", "exec 2>\"$0\" && exec \"$@\"", path] }

    /// Leaves no room.
    func fill() {
        var byte = UInt8(ascii: "\n")
        while write(descriptor, &byte, 1) == 1 {}
    }

    /// What is in it now.
    func read() -> String {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += chunk[..<count]
        }
    }
}
