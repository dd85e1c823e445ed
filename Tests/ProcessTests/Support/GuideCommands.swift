import Glibc

/// The commands of docs/replication-guide.md, read from the document itself, with this run's ports.
struct GuideCommands {
    /// The three commands that start a node.
    let starts: [String]
    /// Every command that calls curl, in order.
    let curls: [String]

    private let firstPort: Int

    /// - Parameter ports: a replacement for each of 8080 to 8085.
    init(ports: [Int]) {
        precondition(ports.count == 6, "the guide uses six ports")
        firstPort = ports[0]
        var commands: [String] = []
        var block: [Substring]?
        let guide = TextFile.read(Repository.root + "/docs/replication-guide.md")
        for line in guide.split(separator: "\n", omittingEmptySubsequences: false) {
            if line == "```bash" {
                block = []
            } else if line == "```", let lines = block {
                commands.append(contentsOf: Self.commands(lines))
                block = nil
            } else {
                block?.append(line)
            }
        }
        for (offset, port) in ports.enumerated() {
            // Through a mark, because a replacement may itself look like a port of the guide.
            commands = commands.map { $0.replacing("808\(offset)", with: "<\(port)>") }
        }
        commands = commands.map { $0.replacing("<", with: "").replacing(">", with: "") }
        starts = commands.filter { $0.hasPrefix("./vikdb ") }
        curls = commands.filter { $0.hasPrefix("curl ") }
    }

    /// Whether the guide sends this command to the leader: a write that follows no redirect.
    func isForTheLeader(_ curl: String) -> Bool {
        curl.contains(" -X ") && !curl.contains(" -L ")
    }

    /// The guide writes to the leader "if that is node 1"; here the same command goes to the node that leads.
    func aimed(_ curl: String, atLeader port: Int) -> String {
        isForTheLeader(curl) ? curl.replacing("://localhost:\(firstPort)/", with: "://localhost:\(port)/") : curl
    }

    /// Lines that end in a backslash go on in the next; comments are left out.
    private static func commands(_ lines: [Substring]) -> [String] {
        var commands: [String] = []
        var command = ""
        for line in lines where !line.hasPrefix("#") && !line.isEmpty {
            command += line
            if line.hasSuffix("\\") {
                command += "\n"
            } else {
                commands.append(command)
                command = ""
            }
        }
        return commands
    }
}

/// The checkout that these tests were built from.
enum Repository {
    static let root = #filePath.split(separator: "/").dropLast(4).reduce(into: "") { $0 += "/" + $1 }
}
