import Dispatch
import Logging
import Testing
import VikDB
import VikWire

/// Who a node is at its start: what is stored, what the cluster answered, what the flags say, in this order.
@Suite struct OwnMemberTests {
    private static let addresses = ["10.0.0.1:8081", "10.0.0.2:8081", "10.0.0.3:8081"]
    private static let cluster = addresses.map { try! HostPort.parse($0) }
    private static let incarnation = Incarnation(high: 9, low: 9)

    private static func store(_ number: UInt64) -> StoreID { StoreID(high: 5, low: number) }

    private static func founder(_ place: Int, store: StoreID? = nil, label: String? = nil) -> Member {
        Member(
            id: .founder(address: addresses[place]), store: store ?? Self.store(UInt64(place)),
            address: addresses[place], label: label ?? "node\(place)")
    }

    private static let stored = Configuration(incarnation: incarnation, members: (0..<3).map { founder($0) })
    private static let joiner = Member(
        id: MemberID(rawValue: 77), store: .zero, role: .learner, address: "10.0.0.9:7000", label: "node9")

    private static func founding(
        _ label: String, _ cluster: [HostPort] = cluster, port: Int = 8081
    ) -> NodeSettings.Replication {
        NodeSettings.Replication(label: label, start: .founding(NodeSettings.Founders(cluster: cluster, port: port)))
    }

    private static func joining(_ label: String) -> NodeSettings.Replication {
        NodeSettings.Replication(label: label, start: .joining(NodeSettings.Join(members: [cluster[0]], port: 7000)))
    }

    private static func find(
        _ replication: NodeSettings.Replication?, store: StoreID, stored: Configuration?, joined: JoinedMember? = nil,
        log: LogRecorder = LogRecorder(), local: String = "none"
    ) throws(StartError) -> OwnMember {
        var settings = NodeSettings(logDirectory: "/log", tableDirectory: "/tables")
        settings.replication = replication
        return try OwnMember.find(
            settings, store: store, stored: stored, joined: joined, logger: log.logger, isLocal: { $0 == local })
    }

    private static func refusal(
        _ replication: NodeSettings.Replication?, store: StoreID, stored: Configuration?, joined: JoinedMember? = nil
    ) -> String {
        do throws(StartError) {
            let own = try find(replication, store: store, stored: stored, joined: joined)
            return "it is \(own.id)"
        } catch {
            return "\(error)"
        }
    }

    private static func peers(_ own: OwnMember) -> Set<String> {
        Set(own.peers.map { "\($0.member) at \($0.address)" })
    }

    private static func peers(_ members: [Member]) -> Set<String> {
        Set(members.map { "\($0.id) at \($0.address)" })
    }

    // MARK: Found

    @Test func storedMemberByItsStore() throws {
        let log = LogRecorder()
        // Neither -cluster nor -replication-port count any more, and no address is looked for on this machine.
        let own = try Self.find(
            Self.founding("node1", [try HostPort.parse("192.0.2.1:1")], port: 2), store: Self.store(1),
            stored: Self.stored, log: log)
        #expect(own.id == .founder(address: Self.addresses[1]) && own.address == Self.cluster[1])
        #expect(Self.peers(own) == Self.peers([Self.founder(0), Self.founder(2)]))
        #expect(own.founders.isEmpty)
        #expect(log.warnings.count == 1 && log.warnings[0].contains("-cluster differs"))
    }

    @Test func theSameClusterIsNoDifference() throws {
        let log = LogRecorder()
        _ = try Self.find(
            Self.founding("node1", Self.cluster.reversed()), store: Self.store(1), stored: Self.stored, log: log)
        _ = try Self.find(Self.joining("node1"), store: Self.store(1), stored: Self.stored, log: log)
        #expect(log.warnings.isEmpty)
    }

    /// Its disk was lost, and the entry that records the new one has not come yet.
    @Test func storedMemberByItsLabel() throws {
        let own = try Self.find(Self.founding("node1"), store: Self.store(8), stored: Self.stored)
        #expect(own.id == .founder(address: Self.addresses[1]))
        #expect(
            try Self.find(Self.joining("node2"), store: Self.store(8), stored: Self.stored).address == Self.cluster[2])
    }

    /// A founder that nobody waited for: neither its store nor its label is known.
    @Test func storedMemberByItsAddress() throws {
        let stored = Configuration(
            incarnation: Self.incarnation,
            members: [Self.founder(0), Self.founder(1), Self.founder(2, store: .zero, label: "")])
        let own = try Self.find(Self.founding("node2"), store: Self.store(2), stored: stored, local: "10.0.0.3")
        #expect(own.id == .founder(address: Self.addresses[2]) && own.founders.isEmpty && own.peers.count == 2)
    }

    @Test func whatTheClusterAnswered() throws {
        let answer = JoinedMember(id: Self.joiner.id, configuration: Self.stored.adding(Self.joiner))
        let own = try Self.find(Self.joining("node9"), store: Self.store(9), stored: nil, joined: answer)
        #expect(own.id == Self.joiner.id && own.address?.description == Self.joiner.address)
        #expect(Self.peers(own) == Self.peers(Self.stored.members) && own.founders.isEmpty)
        // Stopped before its log said so: the answer is newer than what is stored.
        let again = try Self.find(Self.joining("node9"), store: Self.store(9), stored: Self.stored, joined: answer)
        #expect(again.id == own.id && Self.peers(again) == Self.peers(own))
        // Once it is stored nobody is asked.
        let later = try Self.find(Self.joining("node9"), store: Self.store(9), stored: answer.configuration)
        #expect(later.id == own.id && later.address == own.address)
    }

    @Test func founderByItsAddress() throws {
        let own = try Self.find(Self.founding("x"), store: Self.store(2), stored: nil, local: "10.0.0.3")
        #expect(own.id == .founder(address: Self.addresses[2]) && own.address == Self.cluster[2])
        #expect(own.founders == Self.cluster)
        #expect(Self.peers(own) == Self.peers([Self.founder(0), Self.founder(1)]))
    }

    @Test func nodeAlone() throws {
        let fresh = try Self.find(nil, store: Self.store(0), stored: nil)
        #expect(fresh.address == nil && fresh.peers.isEmpty)
        let alone = Member(id: fresh.id, store: Self.store(0), address: "", label: "single-node")
        let stored = Configuration(incarnation: Self.incarnation, members: [alone])
        let own = try Self.find(nil, store: Self.store(0), stored: stored)
        #expect(own.id == fresh.id && own.address == nil && own.peers.isEmpty)
        let refusal = Self.refusal(Self.founding("node0"), store: Self.store(0), stored: stored)
        #expect(refusal.contains("belong to a node alone"), "\(refusal)")
    }

    // MARK: Refused

    @Test func labelThatDiffersFromTheStoredOne() {
        for replication in [Self.founding("other"), Self.joining("other"), Self.founding("node2")] {
            let refusal = Self.refusal(replication, store: Self.store(1), stored: Self.stored)
            #expect(refusal.contains("node1") && refusal.contains("-node-id \(replication.label)"), "\(refusal)")
        }
    }

    @Test func labelThatAnotherMemberHas() {
        let stored = Configuration(
            incarnation: Self.incarnation, members: [Self.founder(0), Self.founder(1, label: "")])
        let refusal = Self.refusal(Self.founding("node0"), store: Self.store(1), stored: stored)
        #expect(refusal == "-node-id node0 is taken by the member at \(Self.addresses[0])")
    }

    @Test func neitherStoreNorLabelNorAddress() throws {
        #expect(throws: StartError.self) {
            try Self.find(
                Self.founding("node9", [try HostPort.parse("10.0.0.9:8081")]), store: Self.store(9),
                stored: Self.stored,
                local: "10.0.0.9")
        }
        // The address of a member that has another label.
        #expect(throws: StartError.self) {
            try Self.find(Self.founding("node9"), store: Self.store(9), stored: Self.stored, local: "10.0.0.2")
        }
    }

    @Test func memberOfAClusterStartedAlone() {
        for store in [Self.store(1), Self.store(8)] {
            let refusal = Self.refusal(nil, store: store, stored: Self.stored)
            #expect(refusal.hasPrefix("these directories belong to"), "\(refusal)")
        }
    }

    @Test func answerOfAnotherCluster() {
        let other = Configuration(incarnation: Incarnation(high: 1, low: 1), members: [Self.founder(0), Self.joiner])
        let refusal = Self.refusal(
            Self.joining("node9"), store: Self.store(9), stored: Self.stored,
            joined: JoinedMember(id: Self.joiner.id, configuration: other))
        #expect(refusal.contains("another cluster"), "\(refusal)")
    }

    // MARK: The own address among those of -cluster (design rule 12)

    private static func own(
        _ cluster: [String], port: Int = 8081, advertised: String? = nil, _ check: @escaping OwnAddress.HostCheck
    ) throws(StartError) -> String {
        try OwnAddress.find(
            in: cluster.map { try! HostPort.parse($0) }, port: port,
            advertised: advertised.map { try! HostPort.parse($0) },
            isLocal: check
        ).description
    }

    @Test func ownAddress() throws {
        #expect(try Self.own(["a:8081", "b:8081", "c:8082"]) { $0 == "b" } == "b:8081")
        #expect(try Self.own(["a:8081", "b:8082"], port: 8082) { _ in true } == "b:8082")
        // A host that does not resolve counts only where no other matches.
        #expect(try Self.own(["a:8081", "b:8081"]) { $0 == "a" ? nil : true } == "b:8081")
        #expect(try Self.own(["a:8081", "b:8081"]) { $0 == "a" ? nil : false } == "a:8081")
        #expect(try Self.own(["a:8081", "b:8081"], advertised: "a:8081") { _ in true } == "a:8081")
        #expect(throws: StartError.self) { try Self.own(["a:8081", "b:8081"]) { _ in true } }
        #expect(throws: StartError.self) { try Self.own(["a:8081", "b:8081"]) { _ in false } }
        #expect(throws: StartError.self) { try Self.own(["a:8081"], port: 1) { _ in true } }
        #expect(throws: StartError.self) { try Self.own(["a:8081"], advertised: "z:8081") { _ in true } }
    }

    // MARK: Names that take their time

    private static func patientlyOwn(
        _ cluster: [String], withoutMatch: DispatchTimeInterval = .seconds(60),
        withMatch: DispatchTimeInterval = .milliseconds(50), _ check: @escaping OwnAddress.HostCheck
    ) throws(StartError) -> String {
        var patience = OwnAddress.Patience()
        patience.withoutMatch = withoutMatch
        patience.withMatch = withMatch
        return try OwnAddress.find(
            in: cluster.map { try! HostPort.parse($0) }, port: 8081, advertised: nil, isLocal: check,
            patience: patience
        ).description
    }

    @Test func hungNamesOfOthersDoNotHoldUpTheStart() throws {
        let end = DispatchSemaphore(value: 0)
        defer { for _ in 0..<4 { end.signal() } }
        let cluster = ["hung:8081", "10.0.0.1:8081", "own:8081", "other:8082"]
        for local in ["own", "10.0.0.1"] {
            let found = try Self.patientlyOwn(cluster) { host in
                if host == "hung" { end.wait() }
                // The port tells that it is another node's.
                if host == "other" { preconditionFailure("it is no candidate") }
                return host == local
            }
            #expect(found == local + ":8081")
        }
        // Nor does one that hangs count for more than one that does not resolve.
        #expect(
            try Self.patientlyOwn(["hung:8081", "10.0.0.1:8081"], withoutMatch: .milliseconds(50)) { host in
                if host == "hung" { end.wait() }
                return false
            } == "hung:8081")
    }

    @Test func ownSlowNameIsWaitedFor() throws {
        let turn = DispatchSemaphore(value: 0)
        let found = try Self.patientlyOwn(["slow:8081", "other:8081"]) { host in
            if host == "other" {
                turn.signal()
                return nil
            }
            turn.wait()
            return true
        }
        #expect(found == "slow:8081")
    }

    /// Where looking up works, a mistake in the flags is still found.
    @Test func twoNamesOfThisMachineAreAmbiguous() {
        #expect(throws: StartError.self) {
            try Self.patientlyOwn(["a:8081", "127.0.0.1:8081"], withMatch: .seconds(60)) { _ in true }
        }
    }
}
