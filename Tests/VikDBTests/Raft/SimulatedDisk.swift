import NIOCore
import VikDB
import VikWire

/// What is durable of one member: hard state and log, and of the state machine what a snapshot brought. A plain value.
struct SimulatedDisk {
    var store: StoreID
    var hardState = HardState()
    /// The entry before the first one, and the configuration that the state has which a snapshot brought.
    private(set) var base: (index: LogIndex, term: Term) = (0, 0)
    private var stored: [IndexedConfiguration] = []
    /// The entry with index i stands at i - 1 - base.
    private(set) var entries: [Entry] = []

    init(store: StoreID) {
        self.store = store
    }

    /// A log of empty entries with these terms, as in figure 7 of the paper; the first entry is `configuration`.
    init(store: StoreID, hardState: HardState, terms: [Term], configuration: Configuration) {
        self.store = store
        self.hardState = hardState
        for (offset, term) in terms.enumerated() {
            let index = LogIndex(offset + 1)
            entries.append(
                index == 1
                    ? Entry(index: 1, term: term, kind: .configuration, payload: configuration.encoded())
                    : Entry(index: index, term: term, kind: .noOp))
        }
    }

    var lastIndex: LogIndex { base.index + LogIndex(entries.count) }
    var lastTerm: Term { entries.last?.term ?? base.term }

    func entry(at index: LogIndex) -> Entry? {
        index > base.index && index <= lastIndex ? entries[Int(index - base.index - 1)] : nil
    }

    /// Writes a group the way the log store does: the hard state first, then the entries.
    ///
    /// - Parameter entryLimit: how many of its entries get to disk before the crash; nil: all.
    mutating func write(_ group: PersistGroup, entryLimit: Int? = nil) {
        if let state = group.hardState {
            precondition(state.term >= hardState.term, "the term on disk goes down")
            precondition(
                state.term > hardState.term || hardState.vote == .none || hardState.vote == state.vote,
                "the vote on disk changes within term \(state.term)")
            hardState = state
        }
        let written = group.entries.prefix(entryLimit ?? group.entries.count)
        guard let first = written.first else { return }
        precondition(first.index <= lastIndex + 1, "the log on disk has a gap")
        entries.removeSubrange(Int(first.index - base.index - 1)...)
        entries.append(contentsOf: written)
    }

    /// A snapshot takes the place of the state, and the log goes on after it.
    mutating func install(through index: LogIndex, term: Term, _ configuration: IndexedConfiguration) {
        entries = []
        base = (index, term)
        stored = [configuration]
    }

    var restored: RestoredState {
        var state = RestoredState()
        state.hardState = hardState
        state.baseIndex = base.index
        state.baseTerm = base.term
        state.lastIndex = lastIndex
        state.configurations = stored
        for entry in entries {
            if entry.term != state.termRuns.last?.term {
                state.termRuns.append(TermRun(firstIndex: entry.index, term: entry.term))
            }
            if entry.kind == .configuration, let configuration = try? Configuration(from: entry.payload) {
                state.configurations.append(IndexedConfiguration(index: entry.index, configuration: configuration))
            }
        }
        return state
    }
}
