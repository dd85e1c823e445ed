import Testing
import VikDB
import VikWire

/// Who may found a cluster (design rule 9), and under which names.
@Suite struct FoundingTests {
    private static let addresses = ["a:1", "b:1", "c:1"]
    private static let incarnation = Incarnation(high: 1, low: 2)

    private static func member(_ place: Int, label: String? = nil) -> Member {
        Member(
            id: .founder(address: addresses[place]), store: StoreID(high: 1, low: UInt64(place)),
            address: addresses[place], label: label ?? "node\(place)")
    }

    private static func founding(optional: Set<Int> = []) -> Founding {
        Founding(
            founders: addresses.indices.map {
                Founding.Founder(
                    id: .founder(address: addresses[$0]), address: addresses[$0], isOptional: optional.contains($0))
            }, own: member(0))
    }

    private static func hello(_ place: Int, label: String? = nil) -> Hello {
        let member = member(place, label: label)
        return Hello(
            channel: .control, incarnation: .zero, member: member.id, peer: .founder(address: addresses[0]),
            store: member.store, state: .empty, label: member.label, address: member.address, apiAddress: "a:2")
    }

    private static func configuration(_ founding: Founding) -> Configuration? {
        founding.configuration(incarnation: incarnation, hasSeenTerm: false)
    }

    @Test func allWithLabelsOfTheirOwn() {
        var founding = Self.founding()
        #expect(Self.configuration(founding) == nil && founding.missing == ["b:1", "c:1"])
        founding.record(Self.hello(1))
        #expect(Self.configuration(founding) == nil && founding.missing == ["c:1"])
        founding.record(Self.hello(2))
        #expect(founding.doubledLabel == nil)
        #expect(
            Self.configuration(founding)
                == Configuration(incarnation: Self.incarnation, members: (0..<3).map { Self.member($0) }))
    }

    @Test func doubledLabelFoundsNothing() {
        for (place, label) in [(2, "node1"), (2, "node0"), (1, "node0")] {
            var founding = Self.founding()
            for other in 1...2 { founding.record(Self.hello(other, label: other == place ? label : nil)) }
            #expect(founding.doubledLabel == label && founding.missing.isEmpty)
            #expect(Self.configuration(founding) == nil)
            // Its operator has corrected it.
            founding.record(Self.hello(place, label: "another"))
            #expect(founding.doubledLabel == nil && Self.configuration(founding) != nil)
        }
    }

    /// Those that were not waited for have no labels yet, which is no double.
    @Test func absentFoundersHaveNoLabel() throws {
        let founding = Self.founding(optional: [1, 2])
        #expect(founding.doubledLabel == nil)
        let configuration = try #require(Self.configuration(founding))
        #expect(configuration.members.count { $0.label.isEmpty } == 2)
    }

    /// What may go on for ever is said at once, then ever more seldom, and at once when it changes.
    @Test func aFirstStartThatWaitsSaysSoSeldom() throws {
        var options = ShellHarness.impatient
        options.reminderTicks = 1_000
        options.maxReminderTicks = 4_000
        let node = try ShellHarness(members: 3, options: options, meetsOthers: false)
        func saysWithin(_ ticks: Int) -> [String] {
            let before = node.lines.count
            node.tick(ticks)
            return Array(node.lines.dropFirst(before))
        }
        let missing = "notice first start: waiting for every member of -cluster"
        let first = saysWithin(1_000)
        #expect(first.count == 1 && first[0].hasPrefix(missing), "\(first)")
        #expect(saysWithin(14_000).count == 4, "after 1,000, 2,000, 4,000 and 4,000 ticks")

        node.connect(2, label: "node1")
        let doubled = "error two members of -cluster have the same -node-id"
        #expect(saysWithin(100) == [doubled])
        #expect(saysWithin(900).isEmpty)
        #expect(saysWithin(6_000) == [doubled, doubled])

        let wiped =
            "warning this store is empty but the cluster has data; it does not vote until the leader has recorded it"
        node.connect(2, state: .entries, incarnation: Incarnation(high: 1, low: 1))
        #expect(saysWithin(100) == [wiped])
        #expect(saysWithin(6_900) == [wiped, wiped])
    }

    @Test func joiningNodeFoundsNothing() {
        let founding = Founding(founders: [], own: Self.member(0))
        #expect(founding.missing.isEmpty && Self.configuration(founding) == nil)
    }
}
