import Logging
import VikWire

/// What is wrong with a disk that is full. A plain value.
struct DiskTrouble {
    var freeFiles = UInt64.max
    /// The files of log and tables that found no room, or no inode, or no quota, each until a later try has worked: the
    /// figures of a file system do not tell all of it.
    var refusedSegment: String?
    var refusedTable: String?
    /// As last logged: that the disk is full, and the file that shows it.
    var isNoted = false
    var notedFile: String?
    /// That a merge is due for which there is no room was logged.
    var isPostponementNoted = false
    /// The tick since which a leader's disk is full.
    var leaderSince: UInt64?
    /// The ticks from which on the engine is asked for space again, and the office is handed over.
    var askForSpaceAt: UInt64 = 0
    var handOverAt: UInt64 = 0
}

/// A disk that is full, in bytes, files or quota: writes are refused, everything else goes on, and it ends by itself.
extension NodeShell {
    var isDiskFull: Bool {
        freeBytes < options.minFreeBytes || core.isLogFull || disk.refusedTable != nil
            || disk.freeFiles < options.minFreeFiles
    }

    /// Deletes make room in the end: they have a part of the reserve for themselves.
    var hasRoomForDeletes: Bool {
        !core.isLogFull && freeBytes >= options.minFreeBytes / NodeOptions.reservePart
            && !(disk.refusedTable != nil && engine.isStalled)
    }

    /// The file that found no room, if it is one.
    var refusedFile: String? { disk.refusedSegment ?? disk.refusedTable }

    func noteFreeSpace(_ bytes: UInt64, files: UInt64) {
        freeBytes = bytes
        disk.freeFiles = files
        snapshotRoomMeasured()
        noteDisk()
        if core.isLogFull, bytes >= options.minFreeBytes { probeLog() }
        if isDiskFull, now >= disk.askForSpaceAt {
            disk.askForSpaceAt = now + options.spaceTicks
            engine.requestSpace()
        }
    }

    /// The log has no room for its next segment. It is as it was; what was to be written is tried again with space.
    func noteFullLog(_ sequence: UInt64, _ path: String) {
        core.persistenceRefused(sequence)
        disk.refusedSegment = path
        noteDisk()
    }

    /// Whether a file can be made only a file shows: not the entries that wait, or they would come and go.
    private func probeLog() {
        // Nothing may follow the job that closes the log.
        guard phase == .running || phase == .draining else { return }
        executor.submit(.log) { [log, inbox] in
            do throws(StorageError) {
                if try log.hasRoomForSegment() { inbox.post(.logHasRoom) }
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    func noteRoomForLog() {
        disk.refusedSegment = nil
        core.logHasRoom()
        noteDisk()
    }

    /// How a flush, a merge or a removal ended.
    func noteTables(_ outcome: BackgroundOutcome) {
        switch outcome {
        case .removed: break
        case .done:
            disk.refusedTable = nil
            disk.isPostponementNoted = false
        case .postponed:
            backgroundRetryAt = now + UInt64(options.housekeepingTicks)
            if !disk.isPostponementNoted {
                disk.isPostponementNoted = true
                logger.warning("a merge is due, but there is not enough disk space", metadata: diskMetadata)
            }
        case .refused(let path):
            backgroundRetryAt = now + UInt64(options.housekeepingTicks)
            disk.refusedTable = path
        }
        noteDisk()
    }

    /// Says once that the disk is full, once more if a file shows it, and that it has space again; and tells the core.
    private func noteDisk() {
        // What is only just enough is not told the leader as room: it might come back here in a moment.
        if isDiskFull {
            core.isDiskFull = true
        } else if freeBytes >= options.minFreeBytes + options.minFreeBytes / 4 {
            core.isDiskFull = false
        }
        let isNewFile = refusedFile != nil && disk.notedFile == nil
        guard isDiskFull != disk.isNoted || isNewFile else { return }
        disk.isNoted = isDiskFull
        // Until the end of this shortage: retries take other numbers.
        disk.notedFile = isDiskFull ? refusedFile ?? disk.notedFile : nil
        let metadata = diskMetadata
        if !isDiskFull {
            logger.warning("the disk has space again", metadata: metadata)
        } else if core.isLogFull {
            logger.error("the disk is full: nothing more is acknowledged until it has space", metadata: metadata)
        } else if refusedFile != nil {
            logger.error("the disk is full: writes are refused", metadata: metadata)
        } else {
            logger.warning("the disk is almost full: writes are refused", metadata: metadata)
        }
    }

    private var diskMetadata: Logger.Metadata {
        var metadata: Logger.Metadata = ["free_bytes": "\(freeBytes)"]
        if disk.freeFiles < .max { metadata["free_files"] = "\(disk.freeFiles)" }
        if let refusedFile { metadata["file"] = "\(refusedFile)" }
        return metadata
    }

    /// A leader with a full disk leaves its office to one that says that it has room, if there is one.
    func handOverIfDiskIsFull() {
        guard isDiskFull, core.isLeader else {
            disk.leaderSince = nil
            return
        }
        let since = disk.leaderSince ?? now
        disk.leaderSince = since
        let patience = UInt64(options.raft.electionTicks.upperBound)
        guard now - since >= patience, now >= disk.handOverAt, !core.isHandingOver else { return }
        let roomy = core.progressOfPeers.filter { peer in
            peer.isDiskFull == false && peer.silence < patience
                && hellos[peer.member].map { $0.understands(.diskReports) } == true
        }
        // Those that lack least come first; a learner is refused.
        guard let target = roomy.sorted(by: { $0.match > $1.match }).first(where: { core.handOver(to: $0.member) })
        else { return }
        disk.handOverAt = now + options.spaceTicks
        logger.notice(
            "this disk is full: handing over to a member that has room", metadata: ["to": "\(label(of: target.member))"]
        )
    }

    /// A message as the peer knows it.
    func understood(_ message: Message, by member: MemberID) -> Message {
        guard case .heartbeatReply(var reply) = message, reply.isDiskFull,
            hellos[member].map({ $0.understands(.diskReports) }) != true
        else { return message }
        reply.isDiskFull = false
        return .heartbeatReply(reply)
    }
}
