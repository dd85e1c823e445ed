import Foundation
import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// `vikdb` on the store of a node alone that an earlier build wrote: see `Tests/Fixtures/README.md`.
    @Suite struct OldStoreTests {
        private struct Expected: Decodable {
            struct Value: Decodable {
                let key: String
                let value: String
            }

            let values: [Value]
        }

        @Test(arguments: Fixtures.folders(prefix: "store-").map { $0 + "/alone" })
        func itIsServed(_ fixture: String) throws {
            let folder = Fixtures.folder(fixture)
            let expected = try JSONDecoder().decode(
                Expected.self, from: try Data(contentsOf: folder.appending(path: "expected.json")))
            // What is no text stands there in another way.
            let texts = expected.values.filter { !$0.key.hasPrefix("hex:") && !$0.value.hasPrefix("hex:") }
            try #require(texts.count > 20)
            let node = try SingleNode(flags: ["-log-segment-size", "65536"]) { directory in
                mkdir(directory, 0o700)
                for (part, target) in [("wal", "wal"), ("tables", "sstables")] {
                    mkdir("\(directory)/\(target)", 0o700)
                    for name in Fixtures.contents(of: folder.appending(path: part)) {
                        let bytes = try Data(contentsOf: folder.appending(path: "\(part)/\(name)"))
                        try bytes.write(to: URL(filePath: "\(directory)/\(target)/\(name)"))
                    }
                }
            }
            defer { extendLifetime(node) }
            for start in 0..<2 {
                let client = node.process.client()
                for item in texts {
                    let answer = try client.request("GET", "/kv/\(item.key.pathKey)")
                    #expect(answer.status == 200, "\(item.key)")
                    #expect(try answer.json().value == item.value.base64, "\(item.key)")
                }
                let key = "new".pathKey
                if start == 0 {
                    let answer = try client.request("PUT", "/kv/\(key)", body: #"{"value":"\#("value".base64)"}"#)
                    #expect(answer.status == 200)
                    try node.stop()
                    try node.process.start()
                    try node.waitUntilReady()
                } else {
                    #expect(try client.request("GET", "/kv/\(key)").json().value == "value".base64)
                }
            }
            try node.stop()
            let check = try Finished(Program.vikdb, ["check", node.process.directory], within: 10)
            #expect(check.exit == .code(0) && check.output.hasSuffix("no damage found\n"), "\(check.output)")
        }
    }
}
