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

    private static func hello(
        _ place: Int, label: String? = nil, _ state: StoreState = .empty, recorded: StoreID = .zero
    ) -> Hello {
        let member = member(place, label: label)
        return Hello(
            channel: .control, incarnation: .zero, member: member.id, peer: .founder(address: addresses[0]),
            store: member.store, state: state, recordedStore: recorded, label: member.label, address: member.address,
            apiAddress: "a:2")
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
        let missing = "notice first start: waiting for "
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

    /// While nothing is founded somebody is told why: there always is a reason.
    @Test func whatIsWaitedFor() throws {
        var founding = Self.founding()
        func obstacle(hasSeenTerm: Bool = false) -> String? { founding.obstacle(hasSeenTerm: hasSeenTerm) }
        founding.record(Self.hello(1))
        #expect(try #require(obstacle()).contains("waiting for c:1"))
        founding.record(Self.hello(2))
        #expect(obstacle() == nil)
        // It was stopped in the midst of a founding of which this store knows nothing.
        founding.record(Self.hello(2, .voted))
        #expect(founding.missing.isEmpty && Self.configuration(founding) == nil)
        let reason = try #require(obstacle())
        #expect(
            reason.contains("node2 (c:1)") && !reason.contains("node1") && reason.contains("-sstable-dir"), "\(reason)")
        // Those that took part go on with each other.
        #expect(obstacle(hasSeenTerm: true) == nil)
        founding.record(Self.hello(1, .entries))
        #expect(
            Self.configuration(founding) == nil && obstacle()!.contains("the cluster has data, as node1 (b:1) says"))
        founding.record(Self.hello(1, label: "node0", .entries))
        #expect(obstacle()!.contains("-node-id node0"))
        founding.record(Self.hello(1, .entries, recorded: Self.member(0).store))
        #expect(obstacle() == nil && Self.configuration(founding) != nil)
    }

    /// Whatever the members say of themselves.
    @Test func aReasonWheneverNothingIsFounded() {
        let states: [(StoreState?, StoreID)] =
            StoreState.allCases.flatMap { [($0, StoreID.zero), ($0, Self.member(0).store)] } + [(nil, .zero)]
        for first in states {
            for second in states {
                for optional in [[], [2]] as [Set<Int>] {
                    var founding = Self.founding(optional: optional)
                    for (place, (state, recorded)) in [(1, first), (2, second)] {
                        if let state { founding.record(Self.hello(place, state, recorded: recorded)) }
                    }
                    for hasSeenTerm in [false, true] {
                        let configuration = founding.configuration(
                            incarnation: Self.incarnation, hasSeenTerm: hasSeenTerm)
                        let obstacle = founding.obstacle(hasSeenTerm: hasSeenTerm)
                        #expect((configuration == nil) == (obstacle != nil), "\(first) \(second) \(hasSeenTerm)")
                    }
                }
            }
        }
    }

    @Test func joiningNodeFoundsNothing() {
        let founding = Founding(founders: [], own: Self.member(0))
        #expect(founding.missing.isEmpty && Self.configuration(founding) == nil)
    }
}
