import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// A node on a small file system of its own, in a mount namespace of its own.
    @Suite(.enabled(if: NetworkNamespaces.isWanted, "mount namespaces need root")) struct FullDiskTests {
        private static func node(_ options: String, in directory: TemporaryDirectory) throws -> NodeProcess {
            let node = NodeProcess(
                label: "node", apiPort: Ports.take(), directory: directory.path + "/node",
                prefix: [
                    "/usr/bin/env", "unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
                    "mount -t tmpfs -o \(options) none \"$0\" && exec \"$@\"", directory.path + "/node",
                ],
                flags: ["-memtable-max-size", "1048576", "-log-segment-size", "1048576"])
            try node.start()
            return node
        }

        private static func put(_ client: HTTPClient, _ key: String) throws -> Int {
            try client.request("PUT", "/kv/\(key.pathKey)", body: #"{"value":"\#("v".base64)"}"#).status
        }

        /// Used up, freed, used up again: the node says so, names the file, and goes on.
        @Test func withoutInodesADiskIsFull() throws {
            let directory = TemporaryDirectory()
            let node = try Self.node("size=200m,nr_inodes=80", in: directory)
            defer { node.kill() }
            let client = node.client()
            _ = try poll(within: 20, for: "the first write; its log:\n\(node.log)") {
                try node.requireRunning()
                return (try? Self.put(client, "first")) == 200 ? true : nil
            }
            let root = "/proc/\(try #require(node.processID))/root\(directory.path)/node/"
            for round in 1...2 {
                var made = 0
                while true {
                    let descriptor = open(root + "file\(made)", O_CREAT | O_WRONLY, 0o600)
                    guard descriptor >= 0 else { break }
                    close(descriptor)
                    made += 1
                }
                #expect(made > 20 && errno == ENOSPC)
                _ = try poll(within: 10, for: "507") { try Self.put(client, "full") == 507 ? true : nil }
                // Space is sought, which a flush begins with, once in ten seconds.
                let ready = try poll(within: 20, for: "the file in /readyz; its log:\n\(node.log)") {
                    let ready = try client.request("GET", "/readyz")
                    return ready.status == 503 && (round == 2 || ready.text.contains("no room for")) ? ready : nil
                }
                #expect(ready.text.contains("failed disk: the disk is full"), "\(ready.text)")
                for number in 0..<made { unlink(root + "file\(number)") }
                _ = try poll(within: 10, for: "writes again; its log:\n\(node.log)") {
                    try Self.put(client, "round\(round)") == 200 ? true : nil
                }
                _ = try poll(within: 10, for: "a node that is ready; its log:\n\(node.log)") {
                    try client.request("GET", "/readyz").status == 200 ? true : nil
                }
            }
            #expect(node.log.contains("the disk is full: writes are refused") && node.log.contains(".sst"))
            node.signal(SIGTERM)
            #expect(try node.waitForExit(within: 10) == .code(0))
        }
    }
}
