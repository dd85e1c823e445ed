import NIOCore
import VikDB
import VikWire

/// Knows everything that all nodes ever did, and holds each step against what Raft promises (Ongaro and Ousterhout
/// 2014, figure 3). A plain value.
struct SafetyOracle {
    private struct Place: Hashable {
        let index: LogIndex
        let term: Term
    }

    private struct Known {
        let previousTerm: Term
        let entry: Entry
    }

    private struct Ballot: Hashable {
        let store: StoreID
        let term: Term
    }

    private var leaders: [Term: MemberID] = [:]
    private var ballots: [Ballot: MemberID] = [:]
    private var known: [Place: Known] = [:]
    /// The one history; the entry with index i stands at i - 1.
    private(set) var committed: [Entry] = []
    private(set) var model = StateModel()
    /// The newest committed configuration.
    private(set) var configuration: Configuration?
    private(set) var configurationIndex: LogIndex = 0
    /// All that there ever were.
    private var memberIDs: Set<MemberID> = []

    var committedIndex: LogIndex { LogIndex(committed.count) }

    /// The committed entry at `index`, if it is known.
    func committedEntry(at index: LogIndex) -> Entry? {
        index >= 1 && index <= committedIndex ? committed[Int(index) - 1] : nil
    }

    // MARK: Votes and leaders

    mutating func voted(_ store: StoreID, for candidate: MemberID, in term: Term) throws(Violation) {
        let ballot = Ballot(store: store, term: term)
        if let other = ballots.updateValue(candidate, forKey: ballot), other != candidate {
            throw Violation("a store voted for both \(other) and \(candidate) in term \(term)")
        }
    }

    /// - Returns: whether this leader is new.
    mutating func leads(_ core: borrowing RaftCore) throws(Violation) -> Bool {
        if let leader = leaders[core.term] {
            if leader != core.id { throw Violation("\(leader) and \(core.id) both lead in term \(core.term)") }
            return false
        }
        leaders[core.term] = core.id
        // A late election may end when a later leader has committed already: it need not know of that.
        for entry in committed where entry.term < core.term {
            guard let term = core.termOfEntry(at: entry.index) else {
                if entry.index <= core.lastIndex { continue }
                throw Violation("leader \(core.id) of term \(core.term) lacks committed entry \(entry.index)")
            }
            if term != entry.term {
                throw Violation(
                    "leader \(core.id) of term \(core.term) has term \(term) at committed entry \(entry.index), not "
                        + "\(entry.term)")
            }
        }
        return true
    }

    // MARK: Logs

    /// An entry stands in a log: log matching holds if index and term always mean the same entry after the same term.
    mutating func contains(_ entry: Entry, after previousTerm: Term) throws(Violation) {
        let place = Place(index: entry.index, term: entry.term)
        guard let before = known[place] else {
            known[place] = Known(previousTerm: previousTerm, entry: entry)
            return
        }
        // After a base whose term is not known any more there is nothing to compare.
        if before.previousTerm != previousTerm, previousTerm != .max {
            throw Violation("entry \(entry.index) of term \(entry.term) follows two different terms")
        }
        if before.entry != entry { throw Violation("two entries have index \(entry.index) and term \(entry.term)") }
    }

    /// A node takes `index` for committed, with this term in its own log (nil: compacted).
    ///
    /// - Returns: whether nobody did before.
    mutating func commits(_ index: LogIndex, term: Term?, by member: MemberID) throws(Violation) -> Bool {
        if let entry = committedEntry(at: index) {
            if let term, entry.term != term {
                throw Violation("\(member) commits term \(term) at \(index), others committed term \(entry.term)")
            }
            return false
        }
        guard let term, index == committedIndex + 1, let entry = known[Place(index: index, term: term)]?.entry else {
            throw Violation("\(member) commits entry \(index), which no log is known to hold")
        }
        committed.append(entry)
        switch entry.kind {
        case .noOp: break
        case .command: try model.apply(entry.payload, at: index)
        case .configuration: try recordConfiguration(entry)
        }
        return true
    }

    private mutating func recordConfiguration(_ entry: Entry) throws(Violation) {
        guard let new = try? Configuration(from: entry.payload) else {
            throw Violation("committed configuration \(entry.index) does not decode")
        }
        if let old = configuration {
            if old.incarnation != new.incarnation { throw Violation("the cluster changed its incarnation") }
            let before = Dictionary(uniqueKeysWithValues: old.members.map { ($0.id, $0) })
            let after = Dictionary(uniqueKeysWithValues: new.members.map { ($0.id, $0) })
            let changes = Set(before.keys).union(after.keys).count { before[$0] != after[$0] }
            if changes > 1 { throw Violation("a configuration changes \(changes) members at once") }
            for id in after.keys where before[id] == nil {
                if !memberIDs.insert(id).inserted { throw Violation("the member id \(id) is used again") }
            }
        }
        memberIDs.formUnion(new.members.map(\.id))
        configuration = new
        configurationIndex = entry.index
    }
}
