import Glibc
import Testing
import VikTestSupport

extension ProcessTests {
    /// `vikdb check` and `vikdb dump` on the files of a node: while it runs, once it is stopped, and damaged.
    @Suite struct InspectionTests {
        @Test func checkAndDump() throws {
            let node = try SingleNode(flags: ["-log-segment-size", "65536", "-sstable-compression", "zlib"])
            defer { extendLifetime(node) }
            let client = node.process.client()
            for number in 0..<20 {
                let answer = try client.request(
                    "PUT", "/kv/\("key\(number)".pathKey)", body: #"{"value":"\#("some value \(number)".base64)"}"#)
                #expect(answer.status == 200)
            }
            let directory = node.process.directory
            let running = try Finished(Program.vikdb, ["check", directory], within: 10)
            #expect(running.exit == .code(2) && running.output.isEmpty)
            #expect(running.errors == "vikdb check: \(directory)/wal/lock is locked by another running vikdb\n")
            try node.stop()

            let flags = ["-wal-path", directory + "/wal", "--sstable-dir", directory + "/sstables"]
            for arguments in [[directory], [directory + "/sstables", directory + "/wal"], flags] {
                let whole = try Finished(Program.vikdb, ["check"] + arguments, within: 10)
                #expect(whole.exit == .code(0) && whole.errors.isEmpty, "\(whole.errors)")
                #expect(whole.output.hasSuffix("no damage found\n") && whole.output.contains("OK"))
            }
            let segment = directory + "/wal/00000001.log"
            for path in [segment, directory + "/wal/hard-state", directory + "/sstables/CURRENT"] {
                let shown = try Finished(Program.vikdb, ["dump", path, "--limit", "5"], within: 10)
                #expect(shown.exit == .code(0) && shown.errors.isEmpty && !shown.output.isEmpty)
            }
            let entries = try Finished(Program.vikdb, ["dump", segment], within: 10)
            #expect(entries.output.contains(#"put "key7" "some value 7""#))

            let bytes = TextFile.bytes(segment)
            let value = Array("some value 3".utf8)
            let offset = try #require(bytes.indices.first { bytes[$0...].starts(with: value) })
            let descriptor = open(segment, O_WRONLY)
            var flipped = bytes[offset] ^ 1
            #expect(pwrite(descriptor, &flipped, 1, offset) == 1)
            close(descriptor)
            let damaged = try Finished(Program.vikdb, ["check", directory], within: 10)
            #expect(damaged.exit == .code(1) && damaged.errors.isEmpty)
            #expect(damaged.output.contains("log segments           DAMAGED") && damaged.output.contains("1 problem"))
            let place = try #require(
                damaged.output.split(separator: "\n").first { $0.contains("is corrupt at offset") })
            #expect(place.contains(segment))
            let json = try Finished(Program.vikdb, ["check", "-json", directory], within: 10)
            #expect(json.exit == .code(1))
            #expect(json.output.hasPrefix(#"{"ok":false,"problems":1,"notes":0,"parts":[{"place":"#))
            #expect(json.output.contains(#""problems":[{"file":"\#(segment)","offset":"#))
            // The node says the same.
            try node.process.start()
            #expect(try node.process.waitForExit(within: 10) == .code(1))
            #expect(node.process.log.contains(place.drop { $0 == " " }))
        }

        @Test func whatCannotBeDone() throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            TextFile.write("text", to: directory.path + "/file")
            for (arguments, status, text) in [
                (["check", directory.path], 2, "has no files of a log or of tables"),
                (["check", directory.path + "/none"], 2, "No such file"),
                (["check", "--bogus"], 64, "vikdb check -help"),
                (["dump"], 64, "vikdb dump -help"),
                (["dump", directory.path + "/none"], 2, "No such file"),
                (["dump", directory.path + "/file"], 2, "is no file of a VikDB store"),
                (["dump", directory.path + "/file", "-limit", "-1"], 64, "limit"),
            ] {
                let run = try Finished(Program.vikdb, arguments, within: 10)
                #expect(run.exit == .code(Int32(status)) && run.output.isEmpty, "\(arguments): \(run.errors)")
                #expect(run.errors.contains(text) && run.errors.split(separator: "\n").count == 1, "\(run.errors)")
            }
            for arguments in [["check", "--help"], ["check", "-help"], ["dump", "--help"], ["dump", "-h"]] {
                let run = try Finished(Program.vikdb, arguments, within: 10)
                #expect(run.exit == .code(0) && run.output.contains("vikdb \(arguments[0])"))
            }
        }
    }
}
