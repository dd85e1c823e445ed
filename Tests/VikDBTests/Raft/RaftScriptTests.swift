import Foundation
import Testing

/// The scenarios in `Scripts`, each a list of commands with what they print: see ``RaftScriptWorld`` for the commands.
///
/// A block is commands, a line `----` and the expected output up to an empty line. `VIK_REWRITE=1` writes what is printed
/// now into the scripts, for review as a diff.
@Suite("Raft, interaction scripts")
struct RaftScriptTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Scripts")

    static let names: [String] = {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return files.filter { $0.hasSuffix(".txt") }.sorted()
    }()

    @Test("There are scripts")
    func scriptsAreFound() {
        #expect(Self.names.count >= 10)
    }

    @Test("Script", arguments: names)
    func script(name: String) throws {
        let url = Self.folder.appendingPathComponent(name)
        let expected = try String(contentsOf: url, encoding: .utf8)
        let actual = try Self.run(expected)
        #expect(!actual.contains("VIOLATION"), "\(name)")
        guard actual != expected else { return }
        if ProcessInfo.processInfo.environment["VIK_REWRITE"] == "1" {
            try actual.write(to: url, atomically: true, encoding: .utf8)
        } else {
            Issue.record("\(name) differs (- expected, + now):\n\(Self.difference(expected, actual))")
        }
    }

    /// - Returns: the script with what its commands print now.
    private static func run(_ text: String) throws -> String {
        var world = RaftScriptWorld()
        var result: [String] = []
        var commands: [String] = []
        var isSkippingOutput = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
            if isSkippingOutput, !line.isEmpty { continue }
            isSkippingOutput = false
            result.append(line)
            if line == "----" {
                for command in commands { result += try world.execute(command) }
                commands = []
                isSkippingOutput = true
            } else if !line.isEmpty, !line.hasPrefix("#") {
                commands.append(line)
            }
        }
        #expect(commands.isEmpty, "commands without a line ---- after them")
        return result.joined(separator: "\n")
    }

    private static func difference(_ expected: String, _ actual: String) -> String {
        let old = expected.split(separator: "\n", omittingEmptySubsequences: false)
        let new = actual.split(separator: "\n", omittingEmptySubsequences: false)
        var lines: [(position: Int, text: String)] = []
        for change in new.difference(from: old) {
            switch change {
            case .remove(let offset, let line, _): lines.append((offset, "\(offset + 1): - \(line)"))
            case .insert(let offset, let line, _): lines.append((offset, "\(offset + 1): + \(line)"))
            }
        }
        return lines.sorted { $0.position < $1.position }.map(\.text).joined(separator: "\n")
    }
}
