import Logging
import NIOCore
import VikWire

/// Snapshots to members that need more than the log has, and from a leader to this node.
extension NodeShell {
    // MARK: Sending

    func startSnapshot(to member: MemberID) {
        // The state is that of some applied entry, whose term the log still knows: nothing after it is compacted.
        let index = engine.appliedIndex
        guard let indexTerm = core.termOfEntry(at: index), index > 0 else {
            return core.snapshotEnded(for: member, installed: nil)
        }
        let reader = engine.snapshotReader()
        // Applied meanwhile: its term may differ, and is known just as well.
        let term = reader.index == index ? indexTerm : core.termOfEntry(at: reader.index) ?? 0
        guard term > 0 else { return core.snapshotEnded(for: member, installed: nil) }
        let offer = SnapshotOffer(
            term: core.term, transfer: random.next(), index: reader.index, indexTerm: term,
            estimatedBytes: min(reader.estimatedBytes, WireLimits.maxSnapshotBytes))
        // A member that says in one breath that it has caught up, and that it has not.
        stopSending(to: member)
        noteRepetition(for: member)
        let producer = SnapshotProducer(
            reader, term: core.term, transfer: offer.transfer, chunkBytes: options.snapshotChunkBytes)
        sending[member] = SnapshotSender(
            to: member, offer, producer, options: options, doublings: repetitions.doublings(for: member), now: now)
        peers.openSnapshotConnection(to: member)
        logger.notice(
            "sending a snapshot",
            metadata: ["to": "\(label(of: member))", "index": "\(offer.index)", "bytes": "\(offer.estimatedBytes)"])
    }

    /// A snapshot that the log outruns would be sent for ever, and no line would say why the member never catches up.
    private func noteRepetition(for member: MemberID) {
        guard let repetition = repetitions.needed(by: member, logBytes: log.bytesOnDisk) else { return }
        board.count { $0.snapshotsRepeated += 1 }
        logger.warning(
            """
            the log outran a snapshot, which is sent again, faster and with more of the log kept: a larger \
            -log-retention-max or -snapshot-rate avoids that
            """,
            metadata: [
                "to": "\(label(of: member))", "repetition": "\(repetition)", "log_bytes": "\(log.bytesOnDisk)",
            ])
    }

    /// What members whose snapshot was outrun will ask for, while the disk has room to spare.
    var neededAgain: LogIndex? {
        guard freeBytes / Self.freeBytesForOutrun >= options.minFreeBytes else { return nil }
        let logBytes = log.bytesOnDisk
        return core.progressOfPeers.compactMap { peer in
            guard let kept = repetitions.logBytesKept(for: peer.member, beyond: options.logRetentionMaxBytes),
                logBytes < kept
            else { return nil }
            if let sender = sending[peer.member] { return sender.offer.index }
            // What is gone already no longer log brings back.
            guard peer.match >= core.baseIndex else { return nil }
            return peer.silence < UInt64(options.raft.electionTicks.upperBound) ? peer.match : nil
        }.min()
    }

    /// More of the log is kept for them while so many times the space is free that writes need.
    private static let freeBytesForOutrun: UInt64 = 4

    func snapshotConnection(to member: MemberID, isOpen: Bool) {
        guard let sender = sending[member] else { return }
        if isOpen { sender.connected() } else { sender.disconnected() }
    }

    func snapshotProduced(for member: MemberID, _ transfer: UInt64, _ product: SnapshotProducer.Product) {
        guard let sender = sending[member], sender.offer.transfer == transfer else { return }
        sender.produced(product, now)
    }

    private func snapshotAnswered(by member: MemberID, _ reply: SnapshotReply) {
        guard let sender = sending[member], sender.offer.transfer == reply.transfer else { return }
        let verdict: SnapshotSender.Verdict
        do throws(PeerViolation) {
            verdict = try sender.answered(reply.outcome, now)
        } catch {
            return refuse(member, error)
        }
        switch verdict {
        case .goesOn: break
        case .installed(let index):
            board.count { counters in
                counters.snapshotsSent += 1
                counters.snapshotRawBytes += sender.rawBytes
                counters.snapshotWireBytes += sender.wireBytes
            }
            logger.notice(
                "the snapshot is installed",
                metadata: [
                    "at": "\(label(of: member))", "index": "\(index)", "bytes": "\(sender.rawBytes)",
                    "compressed": "\(sender.wireBytes)",
                ])
            stopSending(to: member)
            repetitions.installed(at: member, last: core.lastIndex)
            core.snapshotEnded(for: member, installed: index)
        case .over:
            logger.warning("the snapshot was given up by its receiver", metadata: ["by": "\(label(of: member))"])
            stopSending(to: member)
            core.snapshotEnded(for: member, installed: nil)
        }
    }

    func stopSending(to member: MemberID) {
        guard sending.removeValue(forKey: member) != nil else { return }
        peers.closeSnapshotConnection(to: member)
    }

    private var sendersInOrder: [SnapshotSender] { sending.values.sorted { $0.member < $1.member } }

    /// Sends what may be sent, and has more produced.
    func pumpSnapshots() {
        for sender in sendersInOrder {
            let member = sender.member
            // The office is lost, the member caught up by itself, or it has another disk now.
            guard core.isInstalling(member), core.term == sender.offer.term else {
                stopSending(to: member)
                continue
            }
            for message in sender.takeMessages(now) { peers.send(message, to: member) }
            if sender.takeRead() { produce(for: sender) }
        }
        installIfPossible()
    }

    private func produce(for sender: SnapshotSender) {
        let (producer, member, transfer) = (sender.producer, sender.member, sender.offer.transfer)
        executor.submit(.read) { [inbox, executor] in
            do throws(StorageError) {
                let raw = try producer.read()
                // In this order, so that chunks are encoded in the order in which they were read.
                executor.submit(.snapshot) {
                    inbox.post(.snapshotProduced(member, transfer: transfer, producer.encode(raw)))
                }
                inbox.post(.snapshotRead(member, transfer: transfer, isEnd: raw == nil))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    func tickSnapshots() {
        repetitions.forget { member, goal in
            guard let peer = core.progressOfPeers.first(where: { $0.member == member }) else { return true }
            return !peer.isInstalling && peer.match >= goal
        }
        for sender in sendersInOrder where !sender.tick(now, options) {
            let member = sender.member
            logger.warning("the receiver of a snapshot does not answer", metadata: ["member": "\(label(of: member))"])
            stopSending(to: member)
            core.snapshotEnded(for: member, installed: nil)
        }
        if let receiver = receiving, receiver.phase == .receiving,
            now - receiver.movedAt >= options.snapshotPatienceTicks
        {
            logger.warning("the snapshot is given up: nothing has come for too long")
            stopReceiving()
        }
    }

    /// Long work says now and then how far it is.
    func logProgress() {
        for sender in sendersInOrder {
            logger.info(
                "sending a snapshot", metadata: ["to": "\(label(of: sender.member))", "percent": "\(sender.percent)"])
        }
        if let receiver = receiving {
            logger.info("receiving a snapshot", metadata: ["percent": "\(receiver.percent)"])
        }
    }

    // MARK: Receiving

    /// A message that the core found to be from the leader, or an answer to this node as the leader.
    func handleSnapshot(_ input: SnapshotMessage) {
        switch input.message {
        case .snapshotOffer(let offer): snapshotOffered(offer)
        case .snapshotChunk(let chunk): snapshotChunkCame(chunk, from: input.from)
        case .snapshotEnd(let end):
            receiving?.ended(end, now)
            completeReceiving()
        case .snapshotReply(let reply): snapshotAnswered(by: input.from, reply)
        default: preconditionFailure("the core hands on what belongs to snapshots")
        }
    }

    private func snapshotOffered(_ offer: SnapshotOffer) {
        if let receiver = receiving {
            if receiver.offer.transfer == offer.transfer {
                // Also a sign of life while everything is here and only waits to be installed.
                core.replyToSnapshot(offer.transfer, .wants(sequence: receiver.takenIn + 1))
                return
            }
            guard receiver.phase == .receiving else { return }
            stopReceiving()
        }
        guard freeBytes >= options.minFreeBytes + min(offer.estimatedBytes, .max - options.minFreeBytes) else {
            logger.warning(
                "a snapshot is refused: the disk has no room for it",
                metadata: ["bytes": "\(offer.estimatedBytes)", "free_bytes": "\(freeBytes)"])
            return core.replyToSnapshot(offer.transfer, .refused)
        }
        snapshotSerial += 1
        receiving = SnapshotReceiver(offer, serial: snapshotSerial, engine: engine, now: now)
        logger.notice(
            "receiving a snapshot", metadata: ["index": "\(offer.index)", "bytes": "\(offer.estimatedBytes)"])
        core.replyToSnapshot(offer.transfer, .wants(sequence: 1))
    }

    private func snapshotChunkCame(_ chunk: SnapshotChunk, from member: MemberID) {
        guard let receiver = receiving else { return }
        do throws(PeerViolation) {
            guard try receiver.accept(chunk, now) else { return }
        } catch {
            return refuse(member, error)
        }
        guard hasRoom(for: receiver) else { return giveUpReceiving(Self.noRoom) }
        executor.submit(.snapshot) { [inbox, intake = receiver.intake, serial = receiver.serial] in
            do throws(SnapshotIntake.Failure) {
                try intake.takeIn(chunk)
                inbox.post(
                    .snapshotTakenIn(serial: serial, sequence: chunk.sequence, rawBytes: UInt64(chunk.rawBytes)))
            } catch {
                switch error {
                case .malformed(let reason): inbox.post(.snapshotSpoilt(serial: serial, reason: reason))
                case .storage(.full(let path)):
                    inbox.post(.snapshotSpoilt(serial: serial, reason: "no space left on the device of \(path)"))
                case .storage(let error): inbox.post(.failed(error))
                }
            }
        }
    }

    private static let noRoom = "the disk has no room for more of it"

    /// An offer's estimate binds nobody, and others write to the disk as well.
    private func hasRoom(for receiver: SnapshotReceiver) -> Bool {
        freeBytes >= options.minFreeBytes + receiver.unmeasuredBytes
    }

    /// Free space was measured anew.
    func snapshotRoomMeasured() {
        guard let receiver = receiving, receiver.phase == .receiving else { return }
        receiver.roomMeasured()
        if !hasRoom(for: receiver) { giveUpReceiving(Self.noRoom) }
    }

    func snapshotTakenIn(_ serial: UInt64, _ sequence: UInt64, rawBytes: UInt64) {
        guard let receiver = receiving, receiver.serial == serial, receiver.phase == .receiving else { return }
        receiver.tookIn(sequence, rawBytes: rawBytes, now)
        core.replyToSnapshot(receiver.offer.transfer, .wants(sequence: sequence + 1))
        completeReceiving()
    }

    func snapshotSpoilt(_ serial: UInt64, _ reason: String) {
        guard let receiver = receiving, receiver.serial == serial, receiver.phase == .receiving else { return }
        giveUpReceiving(reason)
    }

    private func giveUpReceiving(_ reason: String) {
        guard let receiver = receiving else { return }
        logger.warning("the snapshot is given up: \(reason)")
        stopReceiving()
        core.replyToSnapshot(receiver.offer.transfer, .refused)
    }

    private func completeReceiving() {
        guard let receiver = receiving, let end = receiver.completed else { return }
        guard receiver.intake.matches(end) else {
            return giveUpReceiving("what was received is not what was sent")
        }
        guard let configuration = receiver.intake.configuration else {
            return giveUpReceiving("it has no configuration of the cluster")
        }
        guard core.incarnation == .zero || configuration.incarnation == core.incarnation else {
            return giveUpReceiving("it is the state of another cluster")
        }
        receiver.phase = .waiting
    }

    /// Nothing else changes log or engine any more: the snapshot takes their place, first the engine's, with one edit of
    /// its manifest, then the log's. A crash between the two leaves a log that recovery knows to be replaced.
    private func installIfPossible() {
        guard let receiver = receiving, receiver.phase == .waiting else { return }
        let offer = receiver.offer
        guard core.needsSnapshot(through: offer.index, term: offer.indexTerm) else {
            // The log has caught up by itself.
            return stopReceiving()
        }
        guard core.isLogQuiet, !core.isLeader, !isApplying, !isInBackground else { return }
        receiver.phase = .installing
        core.beginInstalling()
        isInBackground = true
        executor.submit(.background) { [inbox, intake = receiver.intake] in
            do throws(StorageError) {
                do throws(StorageError) {
                    try intake.install(term: offer.indexTerm)
                } catch .full(let path) {
                    return inbox.post(.snapshotNotSwitched(reason: "no space left on the device of \(path)"))
                }
                inbox.post(.snapshotSwitched)
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    /// The engine goes on with the state that it had.
    func snapshotNotSwitched(_ reason: String) {
        isInBackground = false
        core.installFailed()
        giveUpReceiving(reason)
    }

    func snapshotSwitched() {
        isInBackground = false
        resetLogToSnapshot()
    }

    /// Tried again with housekeeping while the disk has no room: until then this node takes no entries.
    func resetLogToSnapshot() {
        guard let offer = receiving?.offer else { preconditionFailure("a snapshot is being installed") }
        isResetRefused = false
        executor.submit(.log) { [inbox, log, engine] in
            do throws(StorageError) {
                do throws(StorageError) {
                    try log.reset(toFollow: offer.index, term: offer.indexTerm)
                } catch .full {
                    return inbox.post(.snapshotResetRefused)
                }
                inbox.post(.snapshotInstalled(try RecoveredNode.storedConfiguration(of: engine)))
            } catch {
                inbox.post(.failed(error))
            }
        }
    }

    func snapshotInstalled(_ configuration: IndexedConfiguration) {
        guard let offer = receiving?.offer else { preconditionFailure("a snapshot is being installed") }
        receiving = nil
        core.installed(through: offer.index, term: offer.indexTerm, configuration)
        applied = offer.index
        savedCommit = min(savedCommit, offer.index)
        // What of this node's own proposals is in the snapshot nobody can tell.
        while let pending = writes.popFirst(through: applied) {
            replies.append(.unknown(.leadershipLost), token: pending.token, to: pending.sink)
        }
        board.count { $0.snapshotsInstalled += 1 }
        logger.notice("the snapshot is installed", metadata: ["index": "\(offer.index)"])
        core.replyToSnapshot(offer.transfer, .installed(offer.index))
    }

    private func stopReceiving() {
        guard let receiver = receiving else { return }
        receiving = nil
        executor.submit(.snapshot) { [intake = receiver.intake] in intake.abandon() }
    }

    /// Whether log and engine must be left alone.
    var isSwitchingState: Bool {
        guard let receiver = receiving else { return false }
        return receiver.phase != .receiving
    }

    func label(of member: MemberID) -> String {
        hellos[member]?.label ?? "\(member)"
    }
}
