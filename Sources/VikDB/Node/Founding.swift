import VikWire

/// The first start of a cluster (design rule 9): who of the listed members has answered, and whether this node may take
/// part in founding it. A plain value.
package struct Founding {
    /// One entry of `-cluster`.
    package struct Founder: Sendable {
        package let id: MemberID
        package let address: String
        /// Named by `-bootstrap-without`: the cluster is founded without waiting for it.
        package let isOptional: Bool

        package init(id: MemberID, address: String, isOptional: Bool = false) {
            self.id = id
            self.address = address
            self.isOptional = isOptional
        }
    }

    private let founders: [Founder]
    private let own: Member
    private var answers: [MemberID: Hello] = [:]

    /// - Parameter founders: none for a node that joins a cluster, which founds nothing.
    package init(founders: [Founder], own: Member) {
        self.founders = founders
        self.own = own
    }

    package mutating func record(_ hello: Hello) {
        answers[hello.member] = hello
    }

    /// The members that have not answered yet, by address.
    package var missing: [String] {
        founders.filter { $0.id != own.id && !$0.isOptional && answers[$0.id] == nil }.map(\.address)
    }

    /// A `-node-id` that two members have: labels are unique, so no cluster is founded until one of them has another.
    package var doubledLabel: String? {
        var seen: Set<String> = [own.label]
        let labels = founders.lazy.filter { $0.id != own.id }.compactMap { answers[$0.id]?.label }
        return labels.first { !seen.insert($0).inserted }
    }

    /// A member that holds entries of a cluster whose founders had another store here: this one is new, and must not
    /// vote.
    package var memberWithEntries: Hello? {
        founders.lazy.compactMap { answers[$0.id] }.first { $0.state == .entries && !records($0) }
    }

    /// Whether the member's first entry names this very store: then it has lost nothing since the cluster was founded.
    private func records(_ hello: Hello) -> Bool { hello.recordedStore == own.store }

    /// The configuration to found, once every founder has answered as empty, or as one that was founded with this
    /// very store, and all have labels of their own.
    ///
    /// A store that has seen a term but holds no entry comes from a founding that a crash interrupted. It may go on
    /// with others like it; a store that has seen nothing waits for members that have seen nothing, because it might
    /// have lost the vote that it gave.
    ///
    /// - Parameter hasSeenTerm: whether this node's own store has.
    package func configuration(incarnation: Incarnation, hasSeenTerm: Bool) -> Configuration? {
        guard founders.contains(where: { $0.id == own.id }), missing.isEmpty, doubledLabel == nil else { return nil }
        let isRecorded = answers.values.contains { records($0) }
        var members: [Member] = [own]
        for founder in founders where founder.id != own.id {
            guard let answer = answers[founder.id] else {
                members.append(Member(id: founder.id, store: .zero, address: founder.address, label: ""))
                continue
            }
            switch answer.state {
            case .empty: break
            case .voted: guard hasSeenTerm || isRecorded else { return nil }
            case .entries: guard records(answer) else { return nil }
            }
            members.append(
                Member(id: founder.id, store: answer.store, address: founder.address, label: answer.label))
        }
        return Configuration(incarnation: incarnation, members: members)
    }
}
