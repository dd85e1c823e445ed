import Glibc

/// One line on standard error that is written over and over, if that is a terminal. A plain value.
struct Progress: Sendable {
    let label: String

    private static let isShown = isatty(STDERR_FILENO) == 1
    private static let clearLine = "\r\u{1B}[K"

    func show(_ done: Int, of total: Int) {
        Self.write("\(label): \(grouped(done)) of \(grouped(total))")
    }

    static func write(_ text: String) {
        if isShown { StandardError.write(clearLine + text) }
    }

    static func clear() {
        write("")
    }
}

/// For people, beside the report. Any thread.
enum StandardError {
    static func write(_ text: String) {
        var bytes = text
        // An output that cannot be written has nowhere to say so.
        bytes.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    static func write(line: String) {
        write(line + "\n")
    }
}

/// Why there are no figures: one sentence.
struct BenchmarkError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
