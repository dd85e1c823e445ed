import Glibc

/// Lines for people, on standard error. Any thread may write: a line is one system call, so lines do not mix.
enum StandardError {
    static func write(line: String) {
        var bytes = line + "\n"
        write(&bytes)
    }

    /// A line that takes the place of the one before; empty: none. Only where somebody may watch.
    static func writeProgress(_ line: String) {
        guard isatty(STDERR_FILENO) == 1 else { return }
        var bytes = "\r\u{1b}[K" + line
        write(&bytes)
    }

    private static func write(_ bytes: inout String) {
        // An output that cannot be written has nowhere to say so.
        bytes.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
