import Glibc
import VikTestSupport

/// A node alone, without `-node-id` and `-cluster`; killed when the last reference goes.
final class SingleNode: Sendable {
    let process: NodeProcess
    private let directory = TemporaryDirectory()

    /// - Parameters:
    ///   - shell: what `sh` does before it becomes the node, such as `ulimit -n 640`.
    ///   - prepare: puts something into the node's directory, which is not there yet.
    init(
        flags: [String] = [], after shell: String? = nil, prepare: (_ directory: String) throws -> Void = { _ in }
    ) throws {
        process = NodeProcess(
            label: "node", apiPort: Ports.take(), directory: directory.path + "/node",
            prefix: shell.map { ["/bin/sh", "-c", "\($0) && exec \"$@\"", "sh"] } ?? [], flags: flags)
        try prepare(process.directory)
        try process.start()
        try waitUntilReady()
    }

    deinit {
        process.kill()
    }

    /// A node alone still elects itself before it takes a write.
    func waitUntilReady() throws {
        let client = process.client(timeout: 2)
        _ = try poll(within: 20, for: "the node's first read; its log:\n\(process.log)") {
            try process.requireRunning()
            return (try? client.request("GET", "/kv/\("none".pathKey)")).flatMap { $0.status == 404 ? true : nil }
        }
    }

    func stop() throws {
        process.signal(SIGTERM)
        _ = try process.waitForExit(within: 10)
    }
}
