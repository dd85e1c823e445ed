import VikWire

/// How a log and the tables beside it fit together.
///
/// The engine holds whole committed entries up to `flushed`, all of which were durable in the log once. So the log
/// reaches as far and agrees there, unless a snapshot replaced the engine's state and a crash came before the log could
/// follow; anything else has lost what was acknowledged.
enum StoreAgreement {
    case logFollowsTheTables
    /// A snapshot was installed, and the log is to be reset.
    case tablesReplacedTheLog

    /// - Parameters:
    ///   - flushed: up to where the tables hold everything.
    ///   - installed: the last snapshot that they were replaced by.
    init(
        _ log: RecoveredLog, flushed: FlushedPosition, installed: LogIndex, logDirectory: String,
        tableDirectory: String
    ) throws(StorageError) {
        guard log.hardState.term >= flushed.term else {
            throw .corrupt(
                path: logDirectory, offset: 0,
                reason: "its hard state knows term \(log.hardState.term), the tables in \(tableDirectory) are of "
                    + "term \(flushed.term)")
        }
        if log.term(at: flushed.index) != flushed.term, flushed.index >= log.firstIndex - 1 {
            guard installed == flushed.index, flushed.index > 0 else {
                throw .corrupt(
                    path: logDirectory, offset: 0,
                    reason: "the log ends with entry \(log.lastIndex) or has another entry \(flushed.index) than the "
                        + "tables in \(tableDirectory), which hold everything up to there: it has lost entries")
            }
            self = .tablesReplacedTheLog
            return
        }
        guard log.firstIndex <= flushed.index + 1 else {
            throw .incompatible(
                path: tableDirectory,
                reason: "its tables end at entry \(flushed.index), but the log in \(logDirectory) starts at entry "
                    + "\(log.firstIndex): the two directories do not belong together")
        }
        self = .logFollowsTheTables
    }
}

extension RecoveredLog {
    /// The term of the entry at `index`; nil if the log does not have it.
    fileprivate func term(at index: LogIndex) -> Term? {
        if index == firstIndex - 1 { return baseTerm }
        guard index >= firstIndex, index <= lastIndex else { return nil }
        return termRuns.last { $0.firstIndex <= index }?.term
    }
}
