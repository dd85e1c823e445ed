import VikWire

/// What a check of a whole store found. A plain value.
package struct StoreReport: Sendable {
    /// What was found in one directory, or of two together.
    package struct Part: Sendable {
        package var place: String
        package var findings: [Findings]
    }

    package var parts: [Part] = []

    package var findings: [Findings] { parts.flatMap(\.findings) }
    package var isOK: Bool { findings.allSatisfy(\.isOK) }
}

/// Verifies all files of a stopped node and changes none of them: `vikdb check`.
///
/// Everything is read through the readers that a start uses, so that what passes here does not fail there; and tables
/// are read as a whole, which no start does.
package enum StoreCheck {
    /// Blocks until everything was read.
    ///
    /// - Parameter report: called with each percent of the bytes that was read.
    /// - Throws: if nothing can be said: the node runs, or there is no such directory.
    package static func run(
        _ directories: StoreDirectories, fileSystem: any FileSystem, report: @escaping (_ percent: Int) -> Void
    ) throws(StorageError) -> StoreReport {
        var locks: [any FileLock] = []
        var bytes: UInt64 = 0
        for directory in [directories.log, directories.tables].compactMap(\.self) {
            let names = try fileSystem.list(directory)
            if let lock = try StoreIdentity.lock(directory, fileSystem) { locks.append(lock) }
            for name in names where name.hasSuffix(".log") || name.hasSuffix(".sst") {
                bytes += (try? fileSystem.open(directory + "/" + name, .read).size()) ?? 0
            }
        }
        let progress = CheckProgress(total: bytes, report: report)
        return try withExtendedLifetime(locks) { () throws(StorageError) in
            try check(directories, fileSystem, progress)
        }
    }

    private static func check(
        _ directories: StoreDirectories, _ fileSystem: any FileSystem, _ progress: CheckProgress
    ) throws(StorageError) -> StoreReport {
        var result = StoreReport()
        var logID: StoreID?
        var log: RecoveredLog?
        if let path = directories.log {
            var identity = Findings("store identity")
            logID = read(&identity, path, fileSystem)
            let check = try LogCheck(directory: path, fileSystem: fileSystem, progress: progress)
            log = check.log
            result.parts.append(
                StoreReport.Part(place: path, findings: [identity, check.hardState, check.segments, check.leftovers]))
        }
        guard let path = directories.tables else { return result }
        var identity = Findings("store identity")
        let tablesID = read(&identity, path, fileSystem)
        if let other = directories.log, let logID, let tablesID, logID != tablesID {
            identity.add(.incompatible(path: path, reason: "belongs to another store than \(other)"))
        }
        let check = try EngineCheck(directory: path, fileSystem: fileSystem, progress: progress)
        result.parts.append(
            StoreReport.Part(
                place: path,
                findings: [identity, check.current, check.manifest, check.names, check.tables, check.leftovers]))
        if let other = directories.log {
            let agreement = agreement(of: log, in: other, with: check, in: path)
            result.parts.append(StoreReport.Part(place: "\(other) and \(path)", findings: [agreement]))
        }
        return result
    }

    private static func read(
        _ identity: inout Findings, _ path: String, _ fileSystem: any FileSystem
    ) -> StoreID? {
        let id = identity.attempt { () throws(StorageError) in
            guard let id = try StoreIdentity.stored(in: path, fileSystem) else {
                throw .incompatible(path: path, reason: "has no store-id")
            }
            return id
        }
        if let id { identity.summary = "store \(id)" }
        return id
    }

    private static func agreement(
        of log: RecoveredLog?, in logDirectory: String, with check: EngineCheck, in tableDirectory: String
    ) -> Findings {
        var findings = Findings("log and tables")
        guard let log, let position = check.position else {
            findings.summary = "not compared, one of them cannot be read"
            return findings
        }
        let agreement = findings.attempt { () throws(StorageError) in
            try StoreAgreement(
                log, flushed: position.flushed, installed: position.installed, logDirectory: logDirectory,
                tableDirectory: tableDirectory)
        }
        findings.summary =
            "the log ends with entry \(log.lastIndex), the tables hold everything up to \(position.flushed.index)"
        if agreement == .tablesReplacedTheLog {
            findings.note("a snapshot was installed, the next start lets the log begin after it")
        }
        return findings
    }
}
