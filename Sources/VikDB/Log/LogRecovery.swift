import NIOCore
import VikWire

/// What the log holds when it is opened. A plain value.
package struct RecoveredLog: Equatable, Sendable {
    package var hardState: HardState
    /// Index of the first live entry; `lastIndex + 1` if there is none.
    package var firstIndex: LogIndex
    package var lastIndex: LogIndex
    /// Term of the entry before `firstIndex`; 0 if that is index 0.
    package var baseTerm: Term
    package var termRuns: [TermRun]
    /// Live entries of kind `configuration`, in order.
    package var configurations: [Entry]
}

/// Opens a log for writing, where ``LogScan`` says that it ends; a job of opening it, on one thread.
///
/// Nothing is repaired in place; recovery may crash and start again at any point.
enum LogRecovery {
    /// Opens the log, creating it if there is none.
    static func open(
        directory: String, fileSystem: any FileSystem, options: LogOptions
    ) throws(StorageError) -> (LogWriter, LogCatalog, RecoveredLog) {
        try fileSystem.createDirectory(directory)
        var files = try LogDirectory(directory, fileSystem)
        for name in files.temporaries { try fileSystem.remove(directory + "/" + name) }
        // Names that a killed process left unsynced count from here on.
        try fileSystem.syncDirectory(directory)

        let hardState: HardStateFile
        if files.hasHardState {
            hardState = try HardStateFile(openingIn: directory, fileSystem)
        } else if files.segments.isEmpty {
            hardState = try HardStateFile(creatingIn: directory, fileSystem)
        } else {
            throw files.missingHardState
        }
        if files.segments.isEmpty, hardState.current.logDurable == .start {
            try LogWriter.createFirstSegment(in: directory, fileSystem, options)
            files.segments = [1]
        }
        var scan = try LogScan(files, fileSystem, hardState.current, mode: .readWrite)
        let catalog = LogCatalog(directory: directory, fileSystem: fileSystem, base: scan.last.base)
        var segment = try scan.open(scan.last.oldest)
        for number in scan.segments {
            segment = try scan.open(number)
            catalog.add(segment.head, segment.file)
            try scan.read(segment) { catalog.add($0) }
        }
        guard let tail = scan.tail else { preconditionFailure("the last segment was read") }
        // They dropped out of the log, but a crash came before they were removed.
        for number in files.segments where number < scan.last.oldest { try fileSystem.remove(files.path(number)) }
        try makeDurable(segment.file, from: tail.lastGroup, through: tail.end)
        // Reading ahead filled the cache with large pages of zeros, in which every small write takes several times as
        // long as in those of its own.
        segment.file.forgetCopies()
        var writer = LogWriter(
            directory: directory, fileSystem: fileSystem, options: options, catalog: catalog, segment: segment.head,
            file: segment.file, end: tail.end, hasEndMark: tail.hasEndMark, hardState: hardState)
        try writer.startSession(behindTornBytes: tail.isTorn)
        return (writer, catalog, scan.log)
    }

    /// Makes what was read durable. A process that died of a failed fdatasync left pages that count as clean without
    /// being on disk; writing the last group again makes the kernel write them.
    private static func makeDurable(
        _ file: any File, from start: UInt32, through end: UInt32
    ) throws(StorageError) {
        var offset = start
        while offset < end {
            let bytes = try file.bytes(at: UInt64(offset), count: min(LogScan.windowBytes, Int(end - offset)))
            guard bytes.readableBytes > 0 else { break }
            try file.write(bytes, at: UInt64(offset))
            offset += UInt32(bytes.readableBytes)
        }
        try file.sync()
    }
}
