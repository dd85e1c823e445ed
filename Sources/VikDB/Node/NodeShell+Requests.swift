import NIOCore
import VikWire

/// A write that was admitted and is not proposed yet. A plain value.
struct Proposer {
    let token: UInt64
    let sink: any ReplySink
    /// The tick until which it may wait for a leader.
    let deadline: UInt64
}

/// Clients' requests: admission, deadlines, answers. Every request gets exactly one reply.
extension NodeShell {
    private static let stopping = "the node is stopping"

    // MARK: Writes

    func admitWrite(_ command: ByteBuffer, token: UInt64, sink: any ReplySink) {
        if let refusal = refusalOfWrite(command) {
            replies.append(.notApplied(refusal), token: token, to: sink)
            return
        }
        proposals.append(command)
        proposalBytes += command.readableBytes
        proposers.append(Proposer(token: token, sink: sink, deadline: now + UInt64(options.leaderWaitTicks)))
    }

    private func refusalOfWrite(_ command: ByteBuffer) -> Refusal? {
        if phase != .running { return .notReady(Self.stopping) }
        if core.isRemoved { return .notReady("this node was removed from the cluster") }
        if !core.isLeader, let leader = leaderHello { return .notLeader(leader: leader.apiAddress) }
        if isDiskFull, !(isDelete(command) && hasRoomForDeletes) { return .diskFull }
        if writes.count + proposals.count >= options.maxWaitingWrites
            || proposalBytes + core.unsettledBytes >= options.raft.maxUncommittedBytes
            || core.applicable > applied + options.maxUnappliedEntries || isEngineBehind
        {
            return .overloaded
        }
        return nil
    }

    /// Writes are not admitted that the engine would only apply when their time is up, or nearly so.
    private var isEngineBehind: Bool {
        switch engine.pressure {
        case .none: false
        case .slowdown: proposalBytes + writes.bytes >= throttle.bytesPerTick * (options.requestWaitTicks / 2)
        case .stall: true
        }
    }

    /// Whether a command is the deletion of one key, which makes room in the end.
    private func isDelete(_ command: ByteBuffer) -> Bool {
        command.getInteger(at: command.readerIndex, as: UInt32.self) == 1
            && command.getInteger(at: command.readerIndex + Command.headerBytes, as: UInt8.self) == Command.deleteKind
    }

    /// Proposes all admitted writes; they share one allocation, one append and one sync.
    ///
    /// While nobody is known to lead, or the office is being handed over, they wait a moment: then they are proposed
    /// here after all, or sent to the new leader.
    func propose() {
        guard !proposals.isEmpty else { return }
        guard core.isLeader, !core.isHandingOver else { return proposeLater() }
        if let (first, term) = core.propose(proposals) {
            let deadline = now + UInt64(options.requestWaitTicks)
            let since = MonotonicClock.nanoseconds
            for (offset, proposer) in proposers.enumerated() {
                writes.append(
                    PendingWrites.Pending(
                        index: first + UInt64(offset), term: term, deadline: deadline, since: since,
                        bytes: proposals[offset].readableBytes, token: proposer.token, sink: proposer.sink))
            }
        } else {
            // Too much waits for the disks.
            for proposer in proposers {
                replies.append(.notApplied(.overloaded), token: proposer.token, to: proposer.sink)
            }
        }
        forgetProposals()
    }

    private func forgetProposals() {
        proposals.removeAll(keepingCapacity: true)
        proposers.removeAll(keepingCapacity: true)
        proposalBytes = 0
    }

    private func proposeLater() {
        if !core.isLeader, let leader = leaderHello {
            for proposer in proposers {
                replies.append(
                    .notApplied(.notLeader(leader: leader.apiAddress)), token: proposer.token, to: proposer.sink)
            }
            forgetProposals()
            return
        }
        // In order of their deadlines.
        let expired = proposers.prefix { $0.deadline <= now || phase != .running }.count
        guard expired > 0 else { return }
        for proposer in proposers.prefix(expired) {
            replies.append(.notApplied(.noQuorum), token: proposer.token, to: proposer.sink)
        }
        proposers.removeFirst(expired)
        for proposal in proposals.prefix(expired) { proposalBytes -= proposal.readableBytes }
        proposals.removeFirst(expired)
    }

    /// The office is lost: what is not committed may yet be, or not, under the next leader.
    func abandonWrites() {
        while let pending = writes.popLast(after: core.commit) {
            replies.append(.unknown(.leadershipLost), token: pending.token, to: pending.sink)
        }
    }

    // MARK: Reads

    func admitRead(_ query: Query, _ consistency: ReadConsistency, token: UInt64, sink: any ReplySink) {
        let refusal: Refusal? =
            if phase != .running {
                .notReady(Self.stopping)
            } else if !core.mayServeReads {
                .notReady("the node has not joined the cluster yet")
            } else if reads.count >= options.maxWaitingReads {
                .overloaded
            } else {
                nil
            }
        if let refusal {
            replies.append(.notAnswered(refusal), token: token, to: sink)
            return
        }
        let read = PendingReads.Pending(
            query: query, deadline: now + UInt64(options.requestWaitTicks), token: token, sink: sink)
        switch consistency {
        case .linearizable: reads.append(read)
        case .stale: submit([read])
        }
    }

    /// One read index serves all reads that gathered while the one before was on its way.
    func askForReadIndex() {
        guard reads.isGathering || joins.isGathering, !reads.isAsking, !joins.isAsking else { return }
        reads.startAsking()
        joins.startAsking()
        readContext &+= 1
        core.requestReadIndex(readContext)
    }

    func confirmReads(at index: LogIndex) {
        guard let before = reads.confirm(at: index), let leader = core.leader else { return }
        refuse(leader, .readIndexWentBack(from: before, to: index))
    }

    /// Only reads whose index is applied get a view (design rule 5).
    func serveReads() {
        let servable = reads.takeServable(applied: applied)
        guard !servable.isEmpty else { return }
        var gets: [PendingReads.Pending] = []
        for read in servable {
            // What may take long holds up nobody in a job of its own.
            guard case .get = read.query else {
                submit([read])
                continue
            }
            gets.append(read)
            if gets.count == options.maxReadsPerJob {
                submit(gets)
                gets.removeAll(keepingCapacity: true)
            }
        }
        if !gets.isEmpty { submit(gets) }
    }

    private func submit(_ batch: [PendingReads.Pending]) {
        if let first = batch.first, first.query == .stateHash { return startHashing(for: first) }
        executor.submit(.read) { [engine, inbox] in
            let view = engine.view()
            var replies = ReplyBatch()
            for read in batch {
                do throws(StorageError) {
                    let result = try view.execute(read.query)
                    replies.append(.answered(result, index: view.index), token: read.token, to: read.sink)
                } catch {
                    replies.append(.notAnswered(.failed("\(error)")), token: read.token, to: read.sink)
                    inbox.post(.failed(error))
                }
            }
            replies.deliver()
        }
    }

    // MARK: Hashing the state

    /// So much of it between two other jobs of the snapshot lane.
    private static let hashedBytes = 4 << 20

    /// It reads everything: one at a time, in pieces, so that neither snapshots nor a stop wait for it.
    private func startHashing(for read: PendingReads.Pending) {
        guard !isHashing else {
            replies.append(.notAnswered(.overloaded), token: read.token, to: read.sink)
            return
        }
        isHashing = true
        hash(engine.stateHasher(), token: read.token, sink: read.sink)
    }

    private func hash(_ hasher: StateHasher, token: UInt64, sink: any ReplySink) {
        executor.submit(.snapshot) { [inbox] in
            do throws(StorageError) {
                let hash = try hasher.next(targetBytes: Self.hashedBytes)
                inbox.post(.stateHashed(hasher, hash, token: token, sink: sink))
            } catch {
                inbox.post(.failed(error))
                sink.deliver([Reply(token: token, outcome: .notAnswered(.failed("\(error)")))])
            }
        }
    }

    func stateHashed(_ hasher: StateHasher, _ hash: UInt64?, token: UInt64, sink: any ReplySink) {
        if let hash {
            isHashing = false
            replies.append(.answered(.stateHash(hash), index: hasher.index), token: token, to: sink)
        } else if phase == .running {
            self.hash(hasher, token: token, sink: sink)
        } else {
            isHashing = false
            replies.append(.notAnswered(.notReady(Self.stopping)), token: token, to: sink)
        }
    }

    // MARK: Deadlines and ends

    func expire() {
        while let pending = writes.popFirst(expiredAt: now) {
            replies.append(.unknown(.timedOut), token: pending.token, to: pending.sink)
        }
        while let (read, isConfirmed) = reads.popFirst(expiredAt: now) {
            replies.append(.notAnswered(isConfirmed ? .behind : .noQuorum), token: read.token, to: read.sink)
        }
    }

    /// Whatever waits gets its answer now, because the node stops or has failed.
    func abandonEverything() {
        let refusal = failure.map { Refusal.failed("\($0)") } ?? .notReady(Self.stopping)
        while let pending = writes.popLast(after: 0) {
            replies.append(.unknown(.stopping), token: pending.token, to: pending.sink)
        }
        for proposer in proposers { replies.append(.notApplied(refusal), token: proposer.token, to: proposer.sink) }
        forgetProposals()
        for read in reads.takeAll() { replies.append(.notAnswered(refusal), token: read.token, to: read.sink) }
        for change in changes { replies.append(.unknown(.stopping), token: change.token, to: change.sink) }
        changes.removeAll()
        abandonJoins()
    }

    func refuseAfterFailure(_ input: NodeInput) {
        let refusal = Refusal.failed(failure.map { "\($0)" } ?? "the node stopped")
        switch input {
        case .write(_, let token, let sink): replies.append(.notApplied(refusal), token: token, to: sink)
        case .read(_, _, let token, let sink): replies.append(.notAnswered(refusal), token: token, to: sink)
        case .stateHashed(_, _, let token, let sink):
            replies.append(.notAnswered(refusal), token: token, to: sink)
        case .administer(_, let token, let sink):
            replies.append(.notAdministered(.notReady("the node has failed")), token: token, to: sink)
        default: break
        }
    }
}
