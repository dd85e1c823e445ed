import VikWire

/// Verifies all files of a stopped log and changes none of them; what recovery would refuse is a problem. A plain
/// value, made by one job.
package struct LogCheck {
    package private(set) var hardState = Findings("hard state")
    package private(set) var segments = Findings("log segments")
    package private(set) var leftovers = Findings("leftovers")
    /// What recovery would find, an empty log where there is none yet; nil if it would refuse the log.
    package private(set) var log: RecoveredLog?

    /// - Throws: if the directory cannot be listed.
    package init(
        directory path: String, fileSystem: any FileSystem, progress: CheckProgress
    ) throws(StorageError) {
        let directory = try LogDirectory(path, fileSystem)
        for name in directory.temporaries { leftovers.note("\(path)/\(name): a crash left it") }
        guard let saved = readHardState(directory, fileSystem) else {
            // The segments may be whole all the same.
            let nothing = HardStateFile.Copy(sequence: 0, state: HardState(), logDurable: .start)
            if !directory.segments.isEmpty { readSegments(directory, fileSystem, nothing, progress) }
            log = hardState.isOK ? Self.emptyLog(HardState()) : nil
            return
        }
        if directory.segments.isEmpty, saved.logDurable == .start {
            segments.summary = "none yet, the next start makes the first"
            log = Self.emptyLog(saved.state)
        } else {
            readSegments(directory, fileSystem, saved, progress)
        }
    }

    private static func emptyLog(_ state: HardState) -> RecoveredLog {
        RecoveredLog(hardState: state, firstIndex: 1, lastIndex: 0, baseTerm: 0, termRuns: [], configurations: [])
    }

    private mutating func readHardState(
        _ directory: LogDirectory, _ fileSystem: any FileSystem
    ) -> HardStateFile.Copy? {
        guard directory.hasHardState else {
            if directory.segments.isEmpty {
                hardState.summary = "none yet, the next start makes it"
            } else {
                hardState.add(directory.missingHardState)
            }
            return nil
        }
        let path = directory.path + "/" + HardStateFile.fileName
        let copies = hardState.attempt { () throws(StorageError) in
            try HardStateFile.copies(in: try fileSystem.open(path, .read))
        }
        guard let copies else { return nil }
        let newest = hardState.attempt { () throws(StorageError) in try HardStateFile.newest(of: copies, path: path) }
        guard let newest else { return nil }
        for (number, copy) in copies.enumerated() where copy?.sequence != copies[number ^ 1]?.sequence {
            // The newer copy of a slot counts; the other one was torn, or damaged since.
            if copy.map({ $0.sequence < copies[number ^ 1]?.sequence ?? 0 }) ?? true {
                hardState.note(
                    "\(path), offset \(HardStateFile.offset(copy: number)): this copy is not whole, its twin counts")
            }
        }
        let vote = newest.state.vote
        hardState.summary =
            "term \(newest.state.term), " + (vote.rawValue == 0 ? "no vote" : "vote for \(vote)")
            + ", commit index \(newest.state.commit)"
        return newest
    }

    private mutating func readSegments(
        _ directory: LogDirectory, _ fileSystem: any FileSystem, _ saved: HardStateFile.Copy,
        _ progress: CheckProgress
    ) {
        let scan = segments.attempt { () throws(StorageError) in
            try LogScan(directory, fileSystem, saved, mode: .read)
        }
        guard var scan else { return }
        var records = 0
        for number in scan.segments {
            segments.attempt { () throws(StorageError) in
                let segment = try scan.open(number)
                try scan.read(segment) { _ in records += 1 }
                progress.add(UInt64(segment.head.size))
            }
        }
        for number in directory.segments where number < scan.last.oldest {
            leftovers.note("\(directory.path(number)): dropped out of the log")
        }
        let count = scan.segments.count
        segments.summary = "\(count) segment\(count == 1 ? "" : "s"), \(records) record\(records == 1 ? "" : "s")"
        guard segments.isOK, let tail = scan.tail else { return }
        log = scan.log
        segments.summary +=
            scan.log.firstIndex > scan.log.lastIndex
            ? ", no entry after \(scan.log.lastIndex)" : ", entries \(scan.log.firstIndex) to \(scan.log.lastIndex)"
        if tail.isTorn {
            segments.note(
                "\(directory.path(scan.last.number)), offset \(tail.end): what follows is no whole record; a crash "
                    + "leaves this, and the next start drops it")
        }
    }
}
