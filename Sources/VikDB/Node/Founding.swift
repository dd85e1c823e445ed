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

    /// What keeps this node from founding, and what an operator can do about it; nil: nothing does.
    ///
    /// - Parameter hasSeenTerm: whether this node's own store has.
    package func obstacle(hasSeenTerm: Bool) -> String? {
        guard !founders.isEmpty else { return nil }
        if let doubledLabel {
            return "two members of -cluster have the -node-id \(doubledLabel): give one of them another"
        }
        if let member = memberWithEntries {
            return
                "the store is empty but the cluster has data, as \(Self.name(member)) says: waiting to be recorded by "
                + "the leader, which takes a majority of the others"
        }
        if !missing.isEmpty {
            return "first start: waiting for \(missing.joined(separator: ", ")) "
                + "(or start with -bootstrap-without host:port)"
        }
        let voted = hasSeenTerm || isRecorded ? [] : votedMembers
        guard !voted.isEmpty else { return nil }
        return "first start: all members of -cluster have answered, but "
            + "\(voted.map(Self.name).joined(separator: ", ")) took part in an election before, of which this empty store "
            + "knows nothing: it may have lost its own vote, so it waits until the others have founded the cluster. If "
            + "they cannot, and no member has data yet, stop all members, remove the directories of -wal-path and "
            + "-sstable-dir of those named here, and start all again"
    }

    private static func name(_ hello: Hello) -> String { "\(hello.label) (\(hello.address))" }

    /// Members that have seen a term and hold no entry.
    private var votedMembers: [Hello] {
        founders.filter { $0.id != own.id }.compactMap { answers[$0.id] }.filter { $0.state == .voted }
    }

    /// Whether some member's first entry names this very store.
    private var isRecorded: Bool { answers.values.contains { records($0) } }

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
