import Foundation

/// Nodes whose disk can be made slow: they are started with a library that holds up fdatasync. The compiler that Swift
/// needs itself builds it.
final class SlowDisk: Sendable {
    private let directory = TemporaryDirectory()
    private var library: String { directory.path + "/slow-disk.so" }

    init() throws {
        let source = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "slow-disk.c").path
        var errors = ""
        for compiler in ["clang", "cc"] {
            let run = try Finished("/usr/bin/env", [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"])
            if run.exit == .code(0) { return }
            errors += run.errors
        }
        throw TimedOut(description: "neither clang nor cc compiles \(source): \(errors)")
    }

    /// What the command of a node begins with that lives in `directory`.
    func prefix(_ directory: String) -> [String] {
        ["/usr/bin/env", "LD_PRELOAD=\(library)", "VIK_SLOW_DISK=\(Self.toggle(directory))"]
    }

    /// From its next fdatasync on, each takes two seconds more.
    func begin(at node: NodeProcess) {
        TextFile.write("", to: Self.toggle(node.directory))
    }

    /// Each fdatasync does not come back, until the end of this.
    func hang(at node: NodeProcess) {
        TextFile.write("hang", to: Self.toggle(node.directory))
    }

    func end(at node: NodeProcess) {
        unlink(Self.toggle(node.directory))
    }

    private static func toggle(_ directory: String) -> String { directory + "/slow-disk" }
}
