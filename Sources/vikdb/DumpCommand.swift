import ArgumentParser
import VikDB

/// `vikdb dump`: shows one file of a store as text. A plain value.
struct DumpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vikdb dump",
        abstract: "Shows a table, a segment of the log, a hard state, a manifest, CURRENT or store-id as text.",
        discussion: """
            The kind is told by the file's own bytes. No lock is taken: what a running node is writing may look torn. \
            Ends with status 1 if the file is damaged, after what could be read, and with 2 if it is none of these.
            """,
        helpNames: Flags.configuration.helpNames)

    @Argument(help: ArgumentHelp("The file.", valueName: "file"), transform: FlagValues.file)
    var file: String

    @Option(
        name: .both("limit"),
        help: .value("items", "Most items shown of each list: keys, blocks, entries, records.", default: "all"),
        transform: FlagValues.number(0...Int.max))
    var limit: Int?

    @Option(
        name: .both("max-bytes"), help: .value("bytes", "Most bytes shown of each key and value.", default: "64"),
        transform: FlagValues.number(0...1 << 30))
    var maxBytes = 64

    /// Prints the file. - Returns: the exit status.
    func dump() -> Int32 {
        do throws(StorageError) {
            let limits = FileDump.Limits(items: limit, bytes: maxBytes)
            if try FileDump.run(file, fileSystem: PosixFileSystem(), limits: limits, out: { print($0) }) { return 0 }
            StandardError.write(line: "vikdb dump: \(file) is no file of a VikDB store")
            return 2
        } catch {
            StandardError.write(line: "vikdb dump: \(error)")
            if case .io = error { return 2 }
            return 1
        }
    }
}
