import NIOCore

/// The body of a StoreVerdict: `proto-spec.md` has the table.
extension StoreVerdict {
    private enum Outcome: UInt8 {
        case lost = 0
        case contradicted = 1
    }

    func writeBody(into buffer: inout ByteBuffer) {
        switch finding {
        case .lost(let index):
            buffer.writeMultipleIntegers(term, Outcome.lost.rawValue, index, Term(0))
        case .contradicted(let index, let leaderTerm):
            buffer.writeMultipleIntegers(term, Outcome.contradicted.rawValue, index, leaderTerm)
        }
    }

    init(from body: inout ByteBuffer) throws(WireError) {
        guard
            let (term, rawOutcome, index, entryTerm) = body.readMultipleIntegers(
                as: (UInt64, UInt8, UInt64, UInt64).self)
        else { throw .truncated("store verdict") }
        try checkTerm(term)
        try checkIndex(index)
        guard index > 0 else { throw .invalid("a verdict about no entry") }
        guard entryTerm <= term else { throw .invalid("an entry's term is later than the message's") }
        switch Outcome(rawValue: rawOutcome) {
        case .lost:
            guard entryTerm == 0 else { throw .unknown(field: "store verdict's term", value: entryTerm) }
            self.init(term: term, finding: .lost(index))
        case .contradicted:
            self.init(term: term, finding: .contradicted(index, leaderTerm: entryTerm))
        case nil:
            throw .unknown(field: "store verdict", value: UInt64(rawOutcome))
        }
    }
}
