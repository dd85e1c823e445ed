import Dispatch
import FoundationEssentials
import Glibc

/// A directory for the nodes' files that goes with the benchmark, and with SIGINT and SIGTERM. Any thread.
///
/// Made on the main thread before any other thread starts, so that all of them inherit the signal mask.
struct ScratchDirectory: Sendable {
    let path: String

    private static let removalTries = 50

    init(parent: String?) throws {
        let parent = parent ?? getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/vikbench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw BenchmarkError("cannot create a directory in \(parent): \(String(cString: strerror(errno)))")
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        removeOnSignal()
    }

    /// Nodes that still run may create files meanwhile, so once may not be enough.
    func remove() {
        for _ in 0..<Self.removalTries {
            try? FileManager.default.removeItem(atPath: path)
            if access(path, F_OK) != 0 { return }
            usleep(10_000)
        }
        StandardError.write(line: "vikbench: cannot remove \(path)")
    }

    private func removeOnSignal() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGTERM)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        DispatchQueue(label: "signals").async { [self, signals] in
            var signals = signals
            var number: Int32 = 0
            while sigwait(&signals, &number) != 0 {}
            remove()
            _exit(128 + number)
        }
    }
}
