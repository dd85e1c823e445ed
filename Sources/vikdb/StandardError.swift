import Glibc
import VikDB

/// Lines for people, on standard error. Any thread may write, and none waits: a reader that has stopped reading stops
/// nothing else. A line is one system call where the system takes it whole, so lines do not mix.
enum StandardError {
    private static let writer = LineWriter(descriptor: STDERR_FILENO) { lost in
        "\(LineLogHandler.timestamp()) warning \(lost) line\(lost == 1 ? " was" : "s were") dropped because standard "
            + "error was not read"
    }

    /// How long a process waits for its lines to be read before it goes on, or ends.
    private static let drainMilliseconds: UInt64 = 1_000

    static func write(line: String) {
        writer.write(line: line)
    }

    /// A line that takes the place of the one before; empty: none. Only where somebody may watch.
    static func writeProgress(_ line: String) {
        guard isatty(STDERR_FILENO) == 1 else { return }
        writer.write(text: "\r\u{1b}[K" + line)
    }

    /// Waits until everything is written, but not for long.
    static func drain() {
        writer.drain(milliseconds: drainMilliseconds)
    }

    /// Ends the process with this line, which may be lost if nobody reads.
    static func end(_ line: String, status: Int32) -> Never {
        writer.write(lastLine: line)
        end(status: status)
    }

    /// Ends the process once its lines are written, or nobody reads them. The writer's thread is not waited for.
    static func end(status: Int32) -> Never {
        drain()
        exit(status)
    }
}
