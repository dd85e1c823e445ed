import VikDB
import VikWire

/// What is checked after every step of a node, at every message, and at every restart.
extension Simulation {
    // MARK: Messages

    /// A message claims something of the sender's disk (design rule 1).
    func noteClaims(of message: Message, by process: SimulatedProcess, to receiver: MemberID) {
        let node = process.node
        switch message {
        case .voteRequest(let request) where !request.isPreVote:
            check { () throws(Violation) in try oracle.voted(node.store, for: node.member, in: request.term) }
            node.claims.claim(vote: node.member, in: request.term)
        case .voteReply(let reply) where reply.isGranted && !reply.isPreVote:
            check { () throws(Violation) in try oracle.voted(node.store, for: receiver, in: reply.term) }
            node.claims.claim(vote: receiver, in: reply.term)
        case .voteReply(let reply) where reply.isPreVote:
            if !reply.isGranted { coverage[.preVoteRefused] += 1 }
        case .voteReply(let reply):
            coverage[.voteRefused] += 1
            node.claims.claim(term: reply.term)
        case .appendReply(let reply):
            node.claims.claim(term: reply.term)
            switch reply.outcome {
            case .matched(let index):
                node.claims.durable = max(node.claims.durable, index)
                acknowledged[node.store, default: [:]][reply.term, default: 0] = max(
                    acknowledged[node.store]?[reply.term] ?? 0, index)
            case .rejected: coverage[.appendRejected] += 1
            }
        case .snapshotReply(let reply):
            node.claims.claim(term: reply.term)
            if case .installed(let index) = reply.outcome {
                node.claims.durable = max(node.claims.durable, index)
                acknowledged[node.store, default: [:]][reply.term, default: 0] = max(
                    acknowledged[node.store]?[reply.term] ?? 0, index)
            }
        case .append, .heartbeat, .heartbeatReply: node.claims.claim(term: message.term)
        case .voteRequest, .readIndexRequest, .readIndexReply, .snapshotOffer, .snapshotChunk, .snapshotEnd,
            .timeoutNow, .storeVerdict:
            break
        }
    }

    // MARK: Steps

    func observe(_ process: SimulatedProcess) {
        let core = process.shell.core
        defer { process.seenConfiguration = core.configuration }
        check { () throws(Violation) in
            try observeProgress(process, core)
            try observeLog(process, core)
            try observeCommit(process, core)
            if core.isLeader, try oracle.leads(core) { coverage[.elections] += 1 }
        }
        if process.wasLeader, !core.isLeader { coverage[.leaderSteppedDown] += 1 }
        process.ledBefore = process.wasLeader
        process.wasLeader = core.isLeader
        noteTrust(in: process.node, core)
    }

    private func noteTrust(in node: SimulatedNode, _ core: borrowing RaftCore) {
        guard !node.isTrusted, !node.isRolledBack, core.storeState == .entries, core.mayVote,
            oracle.configuration?.member(node.member)?.store == node.store
        else { return }
        node.isTrusted = true
        if node.hasLostDisk { coverage[.readmissions] += 1 }
        node.hasLostDisk = false
    }

    private func observeProgress(_ process: SimulatedProcess, _ core: borrowing RaftCore) throws(Violation) {
        let label = process.node.label
        let applied = process.engine.appliedIndex
        guard core.term >= process.seenTerm, core.commit >= process.seenCommit, applied >= process.seenApplied else {
            throw Violation("\(label): term, commit or applied index went back")
        }
        // A snapshot takes the place of the engine's state before that of the log.
        guard applied <= core.commit || core.isInstalling, core.commit <= core.lastIndex,
            process.shell.applied <= applied
        else {
            throw Violation(
                "\(label): applied \(process.shell.applied) <= \(applied) <= commit \(core.commit) <= last "
                    + "\(core.lastIndex) does not hold")
        }
        process.seenTerm = core.term
        process.seenApplied = applied
    }

    private func observeLog(_ process: SimulatedProcess, _ core: borrowing RaftCore) throws(Violation) {
        if core.baseIndex != process.shadow.base { try observeBase(process, core) }
        let last = core.lastIndex
        if last == process.shadow.last, core.termOfEntry(at: last) == process.shadow.term(at: last) { return }
        var agreed = min(last, process.shadow.last)
        while agreed > process.shadow.base, core.termOfEntry(at: agreed) != process.shadow.term(at: agreed) {
            agreed -= 1
        }
        if agreed < process.shadow.last {
            coverage[.logTruncated] += 1
            if agreed < process.seenCommit {
                throw Violation("\(process.node.label) truncates committed entries after \(agreed)")
            }
            process.node.claims.durable = min(process.node.claims.durable, agreed)
            process.shadow.truncate(after: agreed)
        }
        guard agreed < last else { return }
        guard
            let entries = core.cachedEntries(from: agreed + 1, through: last, maxBytes: .max, maxCount: .max),
            entries.count == Int(last - agreed)
        else { throw Violation("\(process.node.label) does not hold entries that it has just appended") }
        for entry in entries {
            try oracle.contains(entry, after: process.shadow.term(at: entry.index - 1)!)
            process.shadow.append(entry.term)
        }
    }

    /// The log begins later: it was compacted, or a snapshot took its place.
    private func observeBase(_ process: SimulatedProcess, _ core: borrowing RaftCore) throws(Violation) {
        let (base, node) = (core.baseIndex, process.node)
        guard base > process.shadow.base, let term = core.termOfEntry(at: base), base <= core.commit else {
            throw Violation("\(node.label)'s log begins after \(base), which is not committed")
        }
        if let entry = oracle.committedEntry(at: base), entry.term != term {
            throw Violation("\(node.label)'s log begins after \(base) of term \(term), committed is term \(entry.term)")
        }
        if process.shadow.term(at: base) == term {
            coverage[.logCompacted] += 1
            guard base <= process.engine.flushed.index else {
                throw Violation("\(node.label) compacts entries up to \(base), its tables end before")
            }
        } else {
            coverage[.snapshotsInstalled] += 1
            if process.shadow.last > process.seenCommit { coverage[.conflictReplaced] += 1 }
            // What the log held after its commit index is gone, and was not committed: observeCommit sees to that.
            node.claims.durable = base
        }
        process.shadow.begin(after: base, term)
    }

    private func observeCommit(_ process: SimulatedProcess, _ core: borrowing RaftCore) throws(Violation) {
        guard core.commit > process.seenCommit else { return }
        var isNew = false
        // What a snapshot brought was committed before it was sent.
        guard core.baseIndex <= oracle.committedIndex else {
            throw Violation("\(process.node.label) has a snapshot through \(core.baseIndex), which nobody committed")
        }
        for index in max(process.seenCommit, core.baseIndex) + 1..<core.commit + 1 {
            isNew = try oracle.commits(index, term: core.termOfEntry(at: index), by: core.id) || isNew
        }
        process.seenCommit = core.commit
        guard isNew else { return }
        let entry = oracle.committed.last!
        // Every acknowledgement in the entry's term was the leader's, so that it vouches for the entry itself.
        // A change of the members may have been proposed in the same turn, after the commit.
        let before = process.seenConfiguration
        var holders = 0
        for configuration in [core.configuration, before] {
            let (voters, quorum) = voters(of: configuration)
            holders = voters.count { node in
                node === process.node ? core.applicable >= entry.index : hasAcknowledged(entry, node)
            }
            guard holders >= quorum else { continue }
            if chance(5) { try lookUpOnDisks(entry, of: voters, quorum) }
            return
        }
        throw Violation("entry \(entry.index) is committed, but only \(holders) nodes said that it is durable")
    }

    /// Whether the store that counts for a node said that it has `entry`. It may be lost since: then the others elect
    /// no leader without each other's help until it is replaced.
    private func hasAcknowledged(_ entry: Entry, _ node: SimulatedNode) -> Bool {
        let store = oracle.configuration?.member(node.member)?.store ?? node.store
        return acknowledged[store]?[entry.term] ?? 0 >= entry.index
    }

    /// A committed entry survives a power loss of all nodes at this very moment.
    private func lookUpOnDisks(_ entry: Entry, of voters: [SimulatedNode], _ quorum: Int) throws(Violation) {
        coverage[.durabilityChecks] += 1
        let holders = voters.count { node in
            guard !node.hasLostDisk else { return hasAcknowledged(entry, node) }
            guard
                let (_, recovered) = try? LogStore.open(
                    directory: SimulatedNode.logDirectory, fileSystem: node.disk.durableCopy(),
                    options: profile.logOptions)
            else { return false }
            let run = recovered.termRuns.last { $0.firstIndex <= entry.index }
            if recovered.lastIndex >= entry.index, run?.term == entry.term { return true }
            // Compacted, or part of a snapshot.
            let engine = try? Engine.open(
                directory: SimulatedNode.tableDirectory, fileSystem: node.disk.durableCopy(),
                options: profile.engineOptions)
            return engine.map { $0.flushed.index >= entry.index } ?? false
        }
        guard holders >= quorum else {
            throw Violation("entry \(entry.index) is committed, but only \(holders) disks would still hold it")
        }
    }

    // MARK: Restarts

    /// A disk must still hold what its node said of it, and may hold nothing that was never written.
    func checkRecovered(_ recovered: RecoveredNode, of node: SimulatedNode, _ store: StoreID) {
        check { () throws(Violation) in
            if node.store != .zero, node.store != store { throw Violation("\(node.label) forgot who its store is") }
            let state = recovered.state
            let claims = node.claims
            if state.hardState.term < claims.term
                || (state.hardState.term == claims.term && claims.vote != .none && state.hardState.vote != claims.vote)
            {
                throw Violation(
                    "\(node.label) forgot term \(claims.term) and its vote for \(claims.vote); its disk says "
                        + "\(state.hardState)")
            }
            let log = LogShadow(state)
            if let (before, hardState) = claims.atEnd {
                noteLoss(state, hardState, before, claims)
                if log.last < claims.durable {
                    throw Violation(
                        "\(node.label) claimed that its log is durable up to \(claims.durable), its disk ends at "
                            + "\(log.last)")
                }
                // A snapshot has replaced a log that lacked the entry it ends with; a crash came before the node knew.
                let isReplaced =
                    recovered.engine.installedIndex == log.base && before.term(at: log.base) != log.baseTerm
                for index in max(log.base, before.base)..<max(log.base, before.base, claims.durable + 1)
                where !isReplaced && log.term(at: index) != before.term(at: index) {
                    throw Violation("\(node.label) found another entry at \(index) than the one that was durable")
                }
            }
            guard state.hardState.commit <= oracle.committedIndex,
                recovered.engine.appliedIndex <= oracle.committedIndex
            else { throw Violation("\(node.label) restarts with a commit index that nobody has reached") }
            for entry in oracle.committed where entry.index <= state.hardState.commit {
                if let term = log.term(at: entry.index), term != entry.term {
                    throw Violation("\(node.label) restarts with another committed entry \(entry.index)")
                }
            }
            try readBack(recovered, log)
        }
    }

    private func noteLoss(_ state: RestoredState, _ hardState: HardState, _ log: LogShadow, _ claims: Claims) {
        if state.lastIndex < log.last {
            coverage[.unsyncedEntriesLost] += 1
            if state.lastIndex > claims.durable { coverage[.unsyncedEntriesKept] += 1 }
        }
        if state.hardState.term != hardState.term || state.hardState.vote != hardState.vote { coverage[.voteLost] += 1 }
    }

    /// Every entry on the disk is one that was once appended, byte for byte.
    private func readBack(_ recovered: RecoveredNode, _ log: LogShadow) throws(Violation) {
        var next = log.base + 1
        while next <= log.last {
            let entries: [Entry]
            do throws(StorageError) {
                entries = try recovered.log.read(from: next, through: log.last, maxBytes: 64 << 10)
            } catch {
                throw Violation("entry \(next) cannot be read back: \(error)")
            }
            guard let first = entries.first, first.index == next else {
                throw Violation("entry \(next) cannot be read back")
            }
            for entry in entries {
                guard entry.term == log.term(at: entry.index) else {
                    throw Violation("entry \(entry.index) is read back with another term")
                }
                try oracle.contains(
                    entry, after: entry.index == log.base + 1 && log.base > 0 ? .max : log.term(at: entry.index - 1)!)
            }
            next = entries.last!.index + 1
        }
    }
}
