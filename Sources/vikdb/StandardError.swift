import Glibc

/// Lines for people, on standard error. Any thread may write: a line is one system call, so lines do not mix.
enum StandardError {
    static func write(line: String) {
        var bytes = line + "\n"
        // An output that cannot be written has nowhere to say so.
        bytes.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
