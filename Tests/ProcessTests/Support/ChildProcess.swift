import Glibc
import Synchronization

/// A program that a test runs: killed and reaped at the latest when the last reference goes. Any thread.
final class ChildProcess: Sendable {
    enum Exit: Equatable {
        case code(Int32)
        case signal(Int32)
    }

    let id: pid_t
    let outputPath: String
    let errorPath: String
    private let exit = Mutex<Exit?>(nil)

    /// - Parameter logs: where standard output and standard error are appended, with the ends `.out` and `.err`.
    init(_ executable: String, _ arguments: [String], logs: String) throws {
        outputPath = logs + ".out"
        errorPath = logs + ".err"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let flags = O_WRONLY | O_CREAT | O_APPEND
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, outputPath, flags, 0o600)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errorPath, flags, 0o600)
        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var child: pid_t = 0
        let code = posix_spawn(&child, executable, &actions, nil, &argv, environ)
        guard code == 0 else {
            throw TimedOut(description: "cannot run \(executable): \(String(cString: strerror(code)))")
        }
        id = child
    }

    deinit {
        kill()
    }

    func signal(_ number: Int32) {
        exit.withLock { exit in
            if reap(&exit, WNOHANG) == nil { _ = Glibc.kill(id, number) }
        }
    }

    func kill() {
        exit.withLock { exit in
            guard reap(&exit, WNOHANG) == nil else { return }
            _ = Glibc.kill(id, SIGKILL)
            _ = reap(&exit, 0)
        }
    }

    /// Nil while it runs.
    var ended: Exit? {
        exit.withLock { reap(&$0, WNOHANG) }
    }

    func wait(within seconds: Double) throws -> Exit {
        try poll(within: seconds, everyMilliseconds: 2, for: "the end of process \(id)") { ended }
    }

    private func reap(_ exit: inout Exit?, _ options: Int32) -> Exit? {
        if let exit { return exit }
        var status: Int32 = 0
        guard waitpid(id, &status, options) == id else { return nil }
        exit = status & 0x7F == 0 ? .code(status >> 8 & 0xFF) : .signal(status & 0x7F)
        return exit
    }

    var errors: String { TextFile.read(errorPath) }
    var output: String { TextFile.read(outputPath) }
}

/// A program run to its end.
struct Finished {
    let exit: ChildProcess.Exit
    let output: String
    let errors: String

    init(_ executable: String, _ arguments: [String], within seconds: Double = 30) throws {
        let logs = TemporaryDirectory()
        defer { extendLifetime(logs) }
        let child = try ChildProcess(executable, arguments, logs: logs.path + "/run")
        exit = try child.wait(within: seconds)
        output = child.output
        errors = child.errors
    }
}

/// The programs under test, from the directory of the build that this test is part of.
enum Program {
    static let vikdb = products + "/vikdb"
    static let vikbench = products + "/vikbench"

    private static let products: String = {
        var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = bytes.withUnsafeMutableBytes {
            readlink("/proc/self/exe", $0.assumingMemoryBound(to: CChar.self).baseAddress!, $0.count)
        }
        let path = String(decoding: bytes[..<max(0, count)], as: UTF8.self)
        return path.split(separator: "/").dropLast().reduce(into: "") { $0 += "/" + $1 }
    }()
}
