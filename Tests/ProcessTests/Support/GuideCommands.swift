import Glibc

/// The commands of docs/replication-guide.md, read from the document itself, with this run's ports.
struct GuideCommands {
    /// The three commands that start a node.
    let starts: [String]
    /// Every command that calls curl, in order.
    let curls: [String]

    /// - Parameter ports: a replacement for each of 8080 to 8085.
    init(ports: [Int]) {
        precondition(ports.count == 6, "the guide uses six ports")
        let guide =
            #filePath.split(separator: "/").dropLast(4).reduce(into: "") { $0 += "/" + $1 }
            + "/docs/replication-guide.md"
        var commands: [String] = []
        var block: [Substring]?
        for line in TextFile.read(guide).split(separator: "\n", omittingEmptySubsequences: false) {
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

    /// Lines that end in a backslash go on in the next; comments are left out.
    private static func commands(_ lines: [Substring]) -> [String] {
        var commands: [String] = []
        var command = ""
        for line in lines where !line.hasPrefix("#") && !line.isEmpty {
            if line.hasSuffix("\\") {
                command += line.dropLast() + "\n"
            } else {
                commands.append(command + line)
                command = ""
            }
        }
        return commands.map { $0.replacing("\n", with: " ") }
    }
}
