/// What a node must never forget besides its log: Raft's persistent state (Raft §5.1), and how far it may apply after a
/// restart.
package struct HardState: Equatable, Sendable {
    package var term: Term
    /// Who got this node's vote in `term`; `.none` = nobody yet.
    package var vote: MemberID
    /// An index known to be committed. Saved lazily, so it may lag; it never runs ahead.
    package var commit: LogIndex

    package init(term: Term = 0, vote: MemberID = .none, commit: LogIndex = 0) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }
}

/// A run of consecutive entries with one term, from `firstIndex` to the next run or the log's end. A log of millions of
/// entries has few of them.
package struct TermRun: Equatable, Sendable {
    package var firstIndex: LogIndex
    package var term: Term

    package init(firstIndex: LogIndex, term: Term) {
        self.firstIndex = firstIndex
        self.term = term
    }
}
