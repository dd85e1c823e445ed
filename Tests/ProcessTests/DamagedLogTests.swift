import Glibc
import Testing

extension ProcessTests {
    /// A node whose log was damaged while it was down must not start as if nothing had been there.
    @Suite struct DamagedLogTests {
        @Test(arguments: [Damage.flippedByte, .truncated])
        func nodeRefusesToStart(damage: Damage) throws {
            let node = try SingleNode(flags: ["-log-segment-size", "65536"])
            defer { extendLifetime(node) }
            let client = node.process.client()
            for number in 0..<20 {
                let answer = try client.request(
                    "PUT", "/kv/\("key\(number)".pathKey)", body: #"{"value":"\#("some value \(number)".base64)"}"#)
                #expect(answer.status == 200)
            }
            try node.stop()
            let logDirectory = node.process.directory + "/wal"
            let segment = try #require(
                try Finished("/bin/ls", [logDirectory]).output.split(separator: "\n").first { $0.hasSuffix(".log") })
            let path = "\(logDirectory)/\(segment)"
            try damage.apply(to: path)

            try node.process.start()
            #expect(try node.process.waitForExit(within: 10) == .code(1))
            let last = try #require(node.process.log.split(separator: "\n").last)
            #expect(last.contains(path), "\(last)")
            #expect(last.contains("offset"), "\(last)")
        }

        enum Damage {
            /// In the value of an entry near the beginning.
            case flippedByte
            case truncated

            func apply(to path: String) throws {
                let bytes = TextFile.bytes(path)
                switch self {
                case .flippedByte:
                    let value = Array("some value 3".utf8)
                    let offset = try #require(bytes.indices.first { bytes[$0...].starts(with: value) })
                    let descriptor = open(path, O_WRONLY)
                    defer { close(descriptor) }
                    var flipped = bytes[offset] ^ 1
                    #expect(pwrite(descriptor, &flipped, 1, offset) == 1)
                case .truncated:
                    #expect(Glibc.truncate(path, 300) == 0)
                }
            }
        }
    }
}
