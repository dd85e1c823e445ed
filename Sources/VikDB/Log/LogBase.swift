import VikWire

/// The entry that a log, or a part of one, follows: index and term, zeros where nothing comes before. A plain value.
package struct LogBase: Equatable, Sendable {
    package var index: LogIndex
    package var term: Term

    package init(index: LogIndex = 0, term: Term = 0) {
        self.index = index
        self.term = term
    }
}
