import VikDB
import VikWire

/// The safety properties of Raft (figure 3 of the paper), of durability and of the stores on record, held against the
/// true state of all members. A plain value.
struct RaftInvariants {
    struct Violation: Error {
        let text: String
    }

    private let founding: Configuration
    private let quorum: Int
    private var leaderOfTerm: [Term: Int] = [:]
    /// The term of each committed entry.
    private(set) var committed: [Term] = []
    /// The term of the leader that committed it.
    private var committedIn: [Term] = []
    /// The newest committed configuration.
    private(set) var configuration: (index: LogIndex, value: Configuration)?
    private var appliedEntries: [Entry] = []
    private var lostDisks: [(member: Int, disk: SimulatedDisk)] = []
    private var voteOf: [String: MemberID] = [:]

    init(founding: Configuration) {
        self.founding = founding
        quorum = founding.members.count / 2 + 1
    }

    /// What a disk held when it was lost counted until then.
    mutating func lost(_ disk: SimulatedDisk, of member: Int) {
        lostDisks.append((member, disk))
    }

    /// One vote a term and store.
    mutating func checkVote(_ outgoing: Outgoing, of store: StoreID) throws(Violation) {
        guard case .voteReply(let reply) = outgoing.message, reply.isGranted, !reply.isPreVote else { return }
        let key = "\(store) in term \(reply.term)"
        if let earlier = voteOf[key], earlier != outgoing.to { try fail("two votes of \(key)") }
        voteOf[key] = outgoing.to
    }

    /// Everything that may have changed with an input of member `index`.
    mutating func check(
        _ index: Int, in members: inout [RaftFuzzWorld.Member], counts: inout RaftFuzzCounts
    ) throws(Violation) {
        let member = members[index]
        let core = member.node.core
        if let violation = member.node.violations.first { try fail(violation) }
        if let refusal = member.node.refusals.first {
            try fail("member \(index + 1) refuses an honest message: \(refusal)")
        }
        if core.term < member.seenTerm { try fail("member \(index + 1): the term went down") }
        if core.commit < member.seenCommit { try fail("member \(index + 1): the commit index went down") }
        if core.applicable > core.commit || core.commit > core.lastIndex {
            try fail("member \(index + 1): applicable <= commit <= last does not hold")
        }
        if member.node.timesDeposed > member.seenDeposals { counts[.leaderDeposed] += 1 }
        members[index].seenDeposals = member.node.timesDeposed
        members[index].seenTerm = core.term
        if core.isLeader { try checkLeader(index, core, &counts) }
        if core.commit > member.seenCommit { try checkCommit(index, members, &counts) }
        members[index].seenCommit = core.commit
        members[index].applied = try apply(index, member, &counts)
    }

    /// Election safety and leader completeness.
    private mutating func checkLeader(
        _ index: Int, _ core: RaftCore, _ counts: inout RaftFuzzCounts
    ) throws(Violation) {
        if let other = leaderOfTerm[core.term] {
            if other != index { try fail("members \(other + 1) and \(index + 1) both lead term \(core.term)") }
            return
        }
        leaderOfTerm[core.term] = index
        counts[.leaderElected] += 1
        // One that is elected late, in a term before that of the commit, need not have the entry.
        for (offset, term) in committed.enumerated() where committedIn[offset] < core.term {
            if core.termOfEntry(at: LogIndex(offset + 1)) != term {
                try fail("leader \(index + 1) of term \(core.term) lacks committed entry \(offset + 1)")
            }
        }
    }

    /// Committed entries never change, and each is on the disks of a majority of the stores on record.
    private mutating func checkCommit(
        _ index: Int, _ members: [RaftFuzzWorld.Member], _ counts: inout RaftFuzzCounts
    ) throws(Violation) {
        let core = members[index].node.core
        for entryIndex in members[index].seenCommit + 1...core.commit {
            let term = core.termOfEntry(at: entryIndex)!
            if entryIndex <= LogIndex(committed.count) {
                if committed[Int(entryIndex - 1)] != term {
                    try fail("member \(index + 1) commits another entry \(entryIndex)")
                }
                continue
            }
            if !core.isLeader { try fail("follower \(index + 1) is the first to commit \(entryIndex)") }
            var holders: Set<Int> = []
            var entry: Entry?
            let disks = members.enumerated().map { ($0.offset, $0.element.node.disk) } + lostDisks.map { ($0, $1) }
            for (member, disk) in disks {
                guard let found = disk.entry(at: entryIndex), found.term == term else { continue }
                entry = found
                let recorded = (configuration?.value ?? founding).member(Names.member(member + 1))?.store
                if recorded == disk.store { holders.insert(member) }
            }
            if holders.count < quorum {
                try fail("leader \(index + 1) commits \(entryIndex), durable on \(holders.map { $0 + 1 }.sorted())")
            }
            committed.append(term)
            committedIn.append(core.term)
            if let entry, entry.kind == .configuration, let value = try? Configuration(from: entry.payload) {
                if configuration != nil { counts[.storeRecorded] += 1 }
                configuration = (entryIndex, value)
            }
        }
    }

    /// State-machine safety: what is applied is durable here, and the same everywhere.
    private mutating func apply(
        _ index: Int, _ member: RaftFuzzWorld.Member, _ counts: inout RaftFuzzCounts
    ) throws(Violation) -> LogIndex {
        guard member.node.core.applicable > member.applied else { return member.applied }
        for entryIndex in member.applied + 1...member.node.core.applicable {
            guard let entry = member.node.disk.entry(at: entryIndex) else {
                try fail("member \(index + 1) applies \(entryIndex), which is not on its disk")
            }
            if entryIndex <= LogIndex(appliedEntries.count) {
                if appliedEntries[Int(entryIndex - 1)] != entry {
                    try fail("member \(index + 1) applies another entry \(entryIndex)")
                }
            } else {
                appliedEntries.append(entry)
                if entry.kind == .command { counts[.commandApplied] += 1 }
            }
        }
        return member.node.core.applicable
    }

    /// Two logs that have the same entry somewhere are equal up to there.
    func checkLogMatching(_ members: [RaftFuzzWorld.Member]) throws(Violation) {
        for left in members.indices {
            for right in members.indices where right > left {
                let (one, other) = (members[left].node.core, members[right].node.core)
                var isEqual = false
                for index in stride(from: min(one.lastIndex, other.lastIndex), to: 0, by: -1) {
                    let same = one.termOfEntry(at: index) == other.termOfEntry(at: index)
                    if isEqual && !same { try fail("logs \(left + 1) and \(right + 1) differ before a match") }
                    isEqual = isEqual || same
                }
            }
        }
    }

    private func fail(_ text: String) throws(Violation) -> Never {
        throw Violation(text: text)
    }
}
