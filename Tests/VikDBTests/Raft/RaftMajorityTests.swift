import NIOCore
import Testing
import VikDB
import VikWire

/// Who makes a majority, over all small clusters: what a leader commits and who wins an election, against the plain
/// definition. A member's place is how many of the leader's four entries it has.
@Suite("Raft, tables of majorities")
struct RaftMajorityTests {
    private static let entryCount = 4

    /// Whether more than half of `voters` are in the set.
    private static func isMajority(_ count: Int, of voters: Int) -> Bool { 2 * count > voters }

    /// How many of the entries a majority has: tried from the last to the first.
    private static func committed(_ places: [Int]) -> Int {
        (1...entryCount).last { entry in
            isMajority(places.count { $0 >= entry }, of: places.count)
        } ?? 0
    }

    /// Calls `body` with every list of `count` places.
    private static func forEachPlaces(_ count: Int, _ body: ([Int]) throws -> Void) rethrows {
        var places = Array(repeating: 0, count: count)
        while true {
            try body(places)
            guard let next = places.lastIndex(where: { $0 < entryCount }) else { return }
            places[next] += 1
            for later in places.indices where later > next { places[later] = 0 }
        }
    }

    /// A member beside the voters that counts for nothing.
    enum Bystander: CaseIterable {
        case none
        /// It has everything.
        case learner
        case voterToBe
        /// The last voter is back with another store, which nobody has recorded, and acknowledges all that it is sent.
        case otherStore
    }

    /// Leaders whose own disk has 0 to 4 of their entries. Entry 1, of an older term, is nobody's news.
    private static func leaders(voters: Int, _ bystander: Bystander) -> [RaftSubject] {
        (0...entryCount).map { own in
            var configuration = Names.configuration(voters)
            if bystander == .learner || bystander == .voterToBe {
                configuration = configuration.adding(
                    Member(
                        id: Names.member(voters + 1), store: Names.store(voters + 1),
                        role: bystander == .learner ? .learner : .voterToBe, address: "learner:7000", label: ""))
            }
            let disk = SimulatedDisk(
                store: Names.store(1), hardState: HardState(term: 1), terms: [1], configuration: configuration)
            var subject = RaftSubject(disk: disk, members: configuration.members.count)
            subject.identifyAll()
            // Alone it is elected by its own vote; with others the entry of its term waits for the last vote.
            let quorum = voters / 2 + 1
            if voters == 1 {
                subject.campaignAlone()
            } else {
                subject.campaign()
                for voter in 2...quorum { subject.step(.vote(2, granted: true, isPreVote: true), from: voter) }
                subject.holdsDisk = true
                for voter in 2...quorum { subject.step(.vote(2, granted: true), from: voter) }
            }
            #expect(subject.core.isLeader && subject.core.lastIndex == 2 && subject.core.commit == 0)
            for entry in 1..<entryCount {
                if own >= entry { while subject.node.pending != nil { subject.persist() } }
                subject.propose()
                #expect(subject.core.lastIndex == LogIndex(entry + 2))
            }
            if own == entryCount { while subject.node.pending != nil { subject.persist() } }
            if bystander == .otherStore { subject.identify(voters, generation: 2) }
            return subject
        }
    }

    @Test("§5.3 a leader commits what more than half of the voters have on disk", arguments: 1...5, Bystander.allCases)
    func commitIndex(voters: Int, bystander: Bystander) throws {
        guard bystander != .otherStore || voters > 1 else { return }
        var cases = 0
        for (own, leader) in Self.leaders(voters: voters, bystander).enumerated() {
            Self.forEachPlaces(voters - 1) { others in
                cases += 1
                var subject = leader
                var known = [own] + Array(repeating: 0, count: voters - 1)
                if bystander == .learner || bystander == .voterToBe {
                    subject.match(subject.core.lastIndex, from: voters + 1)
                }
                // What is known changes with each acknowledgement; late and repeated ones change nothing.
                for (offset, place) in others.enumerated() where place > 0 {
                    let number = offset + 2
                    let isOther = bystander == .otherStore && number == voters
                    subject.match(LogIndex(place + 1), from: number, generation: isOther ? 2 : 1)
                    subject.match(LogIndex(place), from: number, generation: isOther ? 2 : 1)
                    if !isOther { known[offset + 1] = place }
                    let entries = Self.committed(known)
                    #expect(
                        subject.core.commit == (entries == 0 ? 0 : LogIndex(entries + 1)),
                        "own \(own), others \(others), known \(known)")
                }
                // An acknowledgement that came first is taken into account once the own disk is done.
                while subject.node.pending != nil { subject.persist() }
                known[0] = Self.entryCount
                let entries = Self.committed(known)
                #expect(subject.core.commit == (entries == 0 ? 0 : LogIndex(entries + 1)), "\(known) in the end")
                #expect(subject.core.applicable == subject.core.commit)
            }
        }
        #expect(cases == (0..<voters).reduce(1) { product, _ in product * (Self.entryCount + 1) })
    }

    @Test("diss. §4.2.2 a leader that removed itself commits what more than half of the others have", arguments: 2...5)
    func commitIndexWithoutLeader(voters: Int) throws {
        var leader = RaftSubject.leader(of: voters)
        // Nobody is waited for: entries go out, and acknowledgements come, one by one.
        leader.input { $0.tick() }
        let before = leader.core.commit
        #expect(before == leader.core.lastIndex)
        _ = try leader.propose(.remove(Names.member(1)))
        leader.propose(Self.entryCount - 1)
        #expect(leader.core.commit == before, "its own disk counts for nothing")
        Self.forEachPlaces(voters - 1) { others in
            var subject = leader
            for (offset, place) in others.enumerated() where place > 0 {
                subject.match(before + LogIndex(place), from: offset + 2)
                let known = others.enumerated().map { $0.offset <= offset ? $0.element : 0 }
                guard subject.core.isLeader else { break }
                #expect(subject.core.commit == before + LogIndex(Self.committed(known)), "\(others) through \(offset)")
            }
        }
    }

    @Test("§5.2 a candidate wins with the votes of more than half, its own among them", arguments: 2...5)
    func votes(voters: Int) {
        var subject = RaftSubject(members: voters)
        subject.campaign()
        for voter in 2...(voters / 2 + 1) { subject.step(.vote(2, granted: true, isPreVote: true), from: voter) }
        #expect(subject.core.role == .candidate)
        // Each of the others: no answer, granted, refused.
        let combinations = (1..<voters).reduce(1) { product, _ in product * 3 }
        for combination in 0..<combinations {
            var candidate = subject
            var (granted, refused) = (1, 0)
            var rest = combination
            for voter in 2...voters {
                let answer = rest % 3
                rest /= 3
                guard answer > 0, candidate.core.role == .candidate else { continue }
                candidate.step(.vote(2, granted: answer == 1), from: voter)
                if answer == 1 { granted += 1 } else { refused += 1 }
                #expect(
                    candidate.core.isLeader == Self.isMajority(granted, of: voters), "\(combination) after \(voter)")
                if Self.isMajority(refused, of: voters) { #expect(candidate.core.role == .follower) }
                #expect(candidate.core.term == 2 && candidate.vote == Names.member(1))
            }
        }
    }
}

extension RaftSubject {
    /// A node alone becomes a leader, and its disk has none of its entries.
    fileprivate mutating func campaignAlone() {
        holdsDisk = true
        // Its vote is durable, the entry of its term is not.
        while !core.isLeader {
            tick()
            if !core.isLeader { persist() }
        }
    }
}
