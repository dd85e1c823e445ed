import ArgumentParser
import Glibc
import VikDB

/// `vikdb check`: verifies all files of a stopped node and says what it found. A plain value.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vikdb check",
        abstract: "Verifies all files of a stopped node, and changes none of them.",
        discussion: """
            A directory is that of a log, that of tables, or has both of a node; without one, and without flags, it \
            is ./data. Ends with status 0 if no damage was found, 1 if there is some, and 2 if nothing could be \
            checked, for example because the node runs.
            """,
        helpNames: Flags.configuration.helpNames)

    @Argument(help: ArgumentHelp("Directories of one node.", valueName: "directory"), transform: FlagValues.directory)
    var directories: [String] = []

    @Option(
        name: .both("wal-path"), help: .value("directory", "Directory of the replicated log."),
        transform: FlagValues.directory)
    var walPath: String?

    @Option(
        name: .both("sstable-dir"), help: .value("directory", "Directory of the sorted tables."),
        transform: FlagValues.directory)
    var sstableDir: String?

    @Flag(name: .both("json"), help: "Print one object of JSON.")
    var json = false

    /// Prints what was found. - Returns: the exit status.
    func check() -> Int32 {
        let fileSystem = PosixFileSystem()
        var store = StoreDirectories(log: walPath, tables: sstableDir)
        do throws(StoreDirectoriesError) {
            let isGiven = walPath != nil || sstableDir != nil || !directories.isEmpty
            for directory in isGiven ? directories : ["./data"] { try store.add(directory, fileSystem) }
        } catch {
            StandardError.write(line: "vikdb check: \(error)")
            return 2
        }
        do throws(StorageError) {
            let report = try StoreCheck.run(store, fileSystem: fileSystem) { percent in
                StandardError.writeProgress("vikdb check: \(percent)%")
            }
            StandardError.writeProgress("")
            StandardError.drain()
            print(json ? report.json : report.text)
            return report.isOK ? 0 : 1
        } catch {
            StandardError.writeProgress("")
            StandardError.write(line: "vikdb check: \(error)")
            return 2
        }
    }
}

extension StoreReport {
    private var problems: Int { findings.reduce(0) { $0 + $1.problems.count + $1.moreProblems } }
    private var notes: Int { findings.reduce(0) { $0 + $1.notes.count + $1.moreNotes } }

    fileprivate var text: String {
        var lines: [String] = []
        let width = findings.map(\.subject.count).max() ?? 0
        for part in parts {
            lines.append(part.place)
            for found in part.findings {
                let padding = String(repeating: " ", count: width - found.subject.count)
                let summary = found.summary.isEmpty ? "" : "  " + found.summary
                lines.append("  \(found.subject)\(padding)  \(found.isOK ? "OK     " : "DAMAGED")\(summary)")
                for problem in found.problems { lines.append("    \(problem)") }
                if found.moreProblems > 0 { lines.append("    and \(found.moreProblems) problems more") }
                for note in found.notes { lines.append("    note: \(note)") }
                if found.moreNotes > 0 { lines.append("    and \(found.moreNotes) notes more") }
            }
        }
        let notes = notes == 0 ? "" : ", \(notes) note\(notes == 1 ? "" : "s")"
        lines.append(isOK ? "no damage found\(notes)" : "\(problems) problem\(problems == 1 ? "" : "s")\(notes)")
        return lines.joined(separator: "\n")
    }

    fileprivate var json: String {
        let parts = parts.flatMap { part in part.findings.map { Self.json($0, of: part.place) } }
        return
            "{\"ok\":\(isOK),\"problems\":\(problems),\"notes\":\(notes),\"parts\":[\(parts.joined(separator: ","))]}"
    }

    private static func json(_ found: Findings, of place: String) -> String {
        let problems = found.problems.map(json).joined(separator: ",")
        let notes = found.notes.map(quoted).joined(separator: ",")
        return "{\"place\":\(quoted(place)),\"subject\":\(quoted(found.subject)),\"ok\":\(found.isOK),"
            + "\"summary\":\(quoted(found.summary)),\"problems\":[\(problems)],\"more_problems\":\(found.moreProblems),"
            + "\"notes\":[\(notes)],\"more_notes\":\(found.moreNotes)}"
    }

    private static func json(_ problem: StorageError) -> String {
        let (path, offset): (String, UInt64?) =
            switch problem {
            case .corrupt(let path, let offset, _): (path, offset)
            case .io(_, let path, _), .full(let path), .locked(let path), .incompatible(let path, _),
                .rolledBack(let path, _):
                (path, nil)
            }
        return "{\"file\":\(quoted(path)),\"offset\":\(offset.map { "\($0)" } ?? "null"),"
            + "\"text\":\(quoted("\(problem)"))}"
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\u{0}"..."\u{1f}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
