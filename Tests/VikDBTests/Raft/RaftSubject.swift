import NIOCore
import Testing
import VikDB
import VikWire

/// One core, always member 1, whose peers the test plays itself. A plain value.
struct RaftSubject {
    private(set) var node: SimulatedNode
    /// Whether writes stay out until ``persist()``; else they are durable at once.
    var holdsDisk = false
    private let memberCount: Int
    private var context: UInt64 = 0

    /// - Parameter terms: of the entries in its log, the first of which is the configuration.
    init(
        members: Int = 3, terms: [Term] = [1], term: Term? = nil, vote: Int? = nil, commit: LogIndex = 0,
        options: RaftOptions = RaftOptions(), seed: UInt64 = 1
    ) {
        memberCount = members
        let hardState = HardState(
            term: term ?? terms.last ?? 0, vote: vote.map(Names.member) ?? .none, commit: commit)
        let disk = SimulatedDisk(
            store: Names.store(1), hardState: hardState, terms: terms, configuration: Names.configuration(members))
        node = SimulatedNode(id: Names.member(1), disk: disk, options: options, seed: seed)
        identifyAll()
    }

    /// On a disk of its own; nobody is identified yet.
    init(disk: SimulatedDisk, members: Int = 3, options: RaftOptions = RaftOptions(), seed: UInt64 = 1) {
        memberCount = members
        node = SimulatedNode(id: Names.member(1), disk: disk, options: options, seed: seed)
    }

    /// A leader in term 2 whose whole log all other members have. It has more entries than there are members, so that no
    /// member that is added, and named after its entry, has a name that is taken.
    static func leader(of members: Int = 3, options: RaftOptions = RaftOptions()) -> RaftSubject {
        var subject = RaftSubject(
            members: members, terms: Array(repeating: 1, count: members + 1), options: options)
        subject.elect(by: Array(2...members / 2 + 1))
        subject.matchAll(by: Array(2...members))
        return subject
    }

    var core: RaftCore { node.core }
    var vote: MemberID { node.core.hardState.vote }

    /// The terms of the whole log.
    var terms: [Term] { core.lastIndex == 0 ? [] : (1...core.lastIndex).map { core.termOfEntry(at: $0)! } }

    mutating func identifyAll() {
        guard memberCount > 1 else { return }
        for number in 2...memberCount { identify(number) }
    }

    mutating func identify(_ number: Int, generation: Int = 1) {
        _ = input { $0.identified(Names.member(number), store: Names.store(number, generation: generation)) }
    }

    @discardableResult
    mutating func input(_ body: (inout RaftCore) -> Void) -> [Outgoing] {
        var sent = node.input(body)
        while !holdsDisk, node.pending != nil { sent += node.persist() }
        #expect(node.violations.isEmpty)
        return sent
    }

    @discardableResult
    mutating func step(_ message: Message, from: Int, generation: Int = 1) -> [Outgoing] {
        let sent = stepAny(message, from: from, generation: generation)
        #expect(node.takeRefusals() == [])
        return sent
    }

    /// - Returns: why the core refused the message; nil: it took it.
    mutating func refusal(of message: Message, from: Int) -> PeerViolation? {
        _ = stepAny(message, from: from)
        return node.takeRefusals().first
    }

    private mutating func stepAny(_ message: Message, from: Int, generation: Int = 1) -> [Outgoing] {
        var sent = node.step(message, from: Names.member(from), store: Names.store(from, generation: generation))
        while !holdsDisk, node.pending != nil { sent += node.persist() }
        #expect(node.violations.isEmpty)
        return sent
    }

    @discardableResult
    mutating func tick(_ count: Int = 1) -> [Outgoing] {
        var sent: [Outgoing] = []
        for _ in 0..<count { sent += input { $0.tick() } }
        return sent
    }

    @discardableResult
    mutating func persist() -> [Outgoing] {
        let sent = node.persist()
        #expect(node.violations.isEmpty)
        return sent
    }

    /// The write that is out finds no room for its entries.
    @discardableResult
    mutating func refuseWrite() -> [Outgoing] {
        let sent = node.refuseWrite()
        #expect(node.violations.isEmpty)
        return sent
    }

    /// Takes a snapshot that was received in the place of state and log.
    @discardableResult
    mutating func install(through index: LogIndex, term: Term, _ configuration: IndexedConfiguration) -> [Outgoing] {
        input { $0.beginInstalling() } + finishInstalling(through: index, term: term, configuration)
    }

    @discardableResult
    mutating func finishInstalling(
        through index: LogIndex, term: Term, _ configuration: IndexedConfiguration
    ) -> [Outgoing] {
        var sent = node.install(through: index, term: term, configuration)
        while !holdsDisk, node.pending != nil { sent += node.persist() }
        #expect(node.violations.isEmpty)
        return sent
    }

    mutating func restart(torn: Int? = nil, seed: UInt64 = 2) {
        node.restart(torn: torn, seed: seed)
        identifyAll()
    }

    /// Ticks until it asks for pre-votes.
    @discardableResult
    mutating func campaign() -> [Outgoing] {
        for _ in 0...core.options.electionTicks.upperBound {
            let sent = tick()
            if core.role != .follower { return sent }
        }
        Issue.record("no campaign within the longest election timeout")
        return []
    }

    /// Wins an election with the votes of `voters`.
    @discardableResult
    mutating func elect(by voters: [Int] = [2]) -> [Outgoing] {
        var sent = campaign()
        let term = core.term + 1
        for isPreVote in [true, false] {
            for voter in voters {
                sent += step(.voteReply(VoteReply(term: term, isPreVote: isPreVote, isGranted: true)), from: voter)
            }
        }
        #expect(core.isLeader && core.term == term)
        return sent
    }

    /// Proposes commands of one byte each.
    @discardableResult
    mutating func propose(_ count: Int = 1, bytes: Int = 1) -> [Outgoing] {
        input { core in
            let payloads = (0..<count).map { _ in ByteBuffer(repeating: 0x78, count: bytes) }
            #expect(core.propose(payloads) != nil)
        }
    }

    /// Proposes a change of the members.
    ///
    /// - Returns: the index of its entry.
    @discardableResult
    mutating func propose(_ change: MembershipChange) throws(MembershipRefusal) -> LogIndex {
        var outcome: Result<LogIndex, MembershipRefusal>?
        input { core in
            do throws(MembershipRefusal) {
                outcome = .success(try core.propose(change).index)
            } catch {
                outcome = .failure(error)
            }
        }
        return try outcome!.get()
    }

    /// Another leader's entries with these configurations.
    @discardableResult
    mutating func append(
        _ configurations: [Configuration], term: Term, after previous: (index: LogIndex, term: Term),
        commit: LogIndex = 0, from: Int
    ) -> [Outgoing] {
        let entries = configurations.enumerated().map { offset, configuration in
            Entry(
                index: previous.index + 1 + UInt64(offset), term: term, kind: .configuration,
                payload: configuration.encoded())
        }
        return step(
            .append(
                AppendRequest(
                    term: term, previousIndex: previous.index, previousTerm: previous.term, commit: commit,
                    entries: entries)),
            from: from)
    }

    /// - Returns: whether the office is being handed over now.
    mutating func handOver(to target: Int? = nil) -> Bool {
        var isBegun = false
        input { isBegun = $0.handOver(to: target.map(Names.member)) }
        return isBegun
    }

    /// Asks for a read index with a fresh context, which it returns.
    mutating func read() -> (context: UInt64, sent: [Outgoing]) {
        context += 1
        let asked = context
        return (asked, input { $0.requestReadIndex(asked) })
    }

    mutating func confirmedReads() -> [UInt64] { node.takeConfirmedReads().map(\.context) }
    mutating func takeFetches() -> [FetchRequest] { node.takeFetches() }
    mutating func takeSnapshotsNeeded() -> [MemberID] { node.takeSnapshotsNeeded() }
    mutating func takeSnapshotMessages() -> [Message] { node.takeSnapshotMessages() }

    @discardableResult
    mutating func match(_ index: LogIndex, from: Int, generation: Int = 1) -> [Outgoing] {
        step(
            .appendReply(AppendReply(term: core.term, outcome: .matched(index))), from: from, generation: generation)
    }

    /// `peers` have the whole log.
    @discardableResult
    mutating func matchAll(by peers: [Int]) -> [Outgoing] {
        let last = core.lastIndex
        return peers.flatMap { match(last, from: $0) }
    }

    /// Lets time pass while nobody but `peers` answers.
    @discardableResult
    mutating func tick(_ count: Int, answeredBy peers: [Int]) -> [Outgoing] {
        (0..<count).flatMap { _ in tick() + peers.flatMap { answerHeartbeat(from: $0) } }
    }

    @discardableResult
    mutating func answerHeartbeat(
        round: UInt64 = 0, verified: LogIndex? = nil, from: Int, generation: Int = 1
    ) -> [Outgoing] {
        step(
            .heartbeatReply(HeartbeatReply(term: core.term, round: round, verified: verified ?? core.lastIndex)),
            from: from, generation: generation)
    }
}

/// Messages in short.
extension Message {
    static func append(
        term: Term, after previous: (index: LogIndex, term: Term), _ terms: [Term] = [], commit: LogIndex = 0
    ) -> Message {
        let entries = terms.enumerated().map { offset, term in
            Entry(index: previous.index + 1 + UInt64(offset), term: term, kind: .noOp)
        }
        return .append(
            AppendRequest(
                term: term, previousIndex: previous.index, previousTerm: previous.term, commit: commit,
                entries: entries))
    }

    static func heartbeat(_ term: Term, commit: LogIndex = 0, round: UInt64 = 0) -> Message {
        .heartbeat(Heartbeat(term: term, commit: commit, round: round))
    }

    static func voteRequest(_ term: Term, last: (index: LogIndex, term: Term), isPreVote: Bool = false) -> Message {
        .voteRequest(VoteRequest(term: term, isPreVote: isPreVote, lastIndex: last.index, lastTerm: last.term))
    }

    static func matched(_ index: LogIndex, term: Term) -> Message {
        .appendReply(AppendReply(term: term, outcome: .matched(index)))
    }

    static func vote(_ term: Term, granted: Bool, isPreVote: Bool = false) -> Message {
        .voteReply(VoteReply(term: term, isPreVote: isPreVote, isGranted: granted))
    }

    static func timeoutNow(_ term: Term) -> Message { .timeoutNow(TimeoutNow(term: term)) }

    var asAppend: AppendRequest? { if case .append(let request) = self { request } else { nil } }
    var asHeartbeat: Heartbeat? { if case .heartbeat(let heartbeat) = self { heartbeat } else { nil } }
    var asVoteRequest: VoteRequest? { if case .voteRequest(let request) = self { request } else { nil } }
}

extension [Outgoing] {
    var appends: [AppendRequest] { compactMap(\.message.asAppend) }
    var heartbeats: [Heartbeat] { compactMap(\.message.asHeartbeat) }
    var voteRequests: [VoteRequest] { compactMap(\.message.asVoteRequest) }
    /// Who is told to stand for election.
    var timeoutNows: [UInt64] {
        filter { if case .timeoutNow = $0.message { true } else { false } }.map(\.to.rawValue)
    }
    /// Messages to member `number`.
    func to(_ number: Int) -> [Message] { filter { $0.to == Names.member(number) }.map(\.message) }
}
