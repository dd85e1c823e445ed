import NIOCore
import VikWire

/// Clients' requests: admission, deadlines, answers. Every request gets exactly one reply.
extension NodeShell {
    private static let stopping = "the node is stopping"

    // MARK: Writes

    func admitWrite(_ command: ByteBuffer, token: UInt64, sink: any ReplySink) {
        if let refusal = refusalOfWrite() {
            replies.append(.notApplied(refusal), token: token, to: sink)
            return
        }
        proposals.append(command)
        proposers.append((token, sink))
    }

    private func refusalOfWrite() -> Refusal? {
        if phase != .running { return .notReady(Self.stopping) }
        guard core.isLeader else {
            guard let leader = leaderHello else { return .noQuorum }
            return .notLeader(leader: leader.apiAddress)
        }
        if isDiskFull { return .diskFull }
        if writes.count + proposals.count >= options.maxWaitingWrites
            || core.applicable > applied + options.maxUnappliedEntries || engine.isStalled
        {
            return .overloaded
        }
        return nil
    }

    /// Proposes all admitted writes; they share one allocation, one append and one sync.
    func propose() {
        guard !proposals.isEmpty else { return }
        if let (first, term) = core.propose(proposals) {
            let deadline = now + UInt64(options.requestWaitTicks)
            for (offset, proposer) in proposers.enumerated() {
                writes.append(
                    PendingWrites.Pending(
                        index: first + UInt64(offset), term: term, deadline: deadline, token: proposer.token,
                        sink: proposer.sink))
            }
        } else {
            // Not proposed: this node lost its office in the same batch, or too much is uncommitted.
            let refusal: Refusal = core.isLeader ? .overloaded : .noQuorum
            for proposer in proposers {
                replies.append(.notApplied(refusal), token: proposer.token, to: proposer.sink)
            }
        }
        proposals.removeAll(keepingCapacity: true)
        proposers.removeAll(keepingCapacity: true)
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
        guard reads.isGathering, !reads.isAsking else { return }
        reads.startAsking()
        readContext &+= 1
        core.requestReadIndex(readContext)
    }

    /// Only reads whose index is applied get a view (design rule 5).
    func serveReads() {
        let servable = reads.takeServable(applied: applied)
        guard !servable.isEmpty else { return }
        var gets: [PendingReads.Pending] = []
        for read in servable {
            // A range may take long; it holds up nobody in a job of its own.
            if case .range = read.query {
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
        proposals.removeAll()
        proposers.removeAll()
        for read in reads.takeAll() { replies.append(.notAnswered(refusal), token: read.token, to: read.sink) }
    }

    func refuseAfterFailure(_ input: NodeInput) {
        let refusal = Refusal.failed(failure.map { "\($0)" } ?? "the node stopped")
        switch input {
        case .write(_, let token, let sink): replies.append(.notApplied(refusal), token: token, to: sink)
        case .read(_, _, let token, let sink): replies.append(.notAnswered(refusal), token: token, to: sink)
        default: break
        }
    }
}
