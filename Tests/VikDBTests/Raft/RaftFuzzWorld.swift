import NIOCore
import VikDB
import VikTestSupport
import VikWire

/// A random network and random disks around RaftCores, with the invariants held against them after every input. Tick by
/// tick, from one seed. A plain value.
struct RaftFuzzWorld {
    struct Member {
        var node: SimulatedNode
        var generation = 1
        var downUntil = 0
        var pausedUntil = 0
        var diskDue = 0
        var fetches: [(request: FetchRequest, due: Int)] = []
        /// Stores of the others that this process has seen in a handshake.
        var knownStores: [Int: StoreID] = [:]
        var seenTerm: Term = 0
        var seenDeposals = 0
        var seenCommit: LogIndex = 0
        var applied: LogIndex = 0
        var nextContext: UInt64 = 1
        /// The read that waits, and what was committed anywhere when it began.
        var read: (context: UInt64, floor: LogIndex)?
    }

    private struct Flight {
        let from: Int
        let to: Int
        let store: StoreID
        let message: Message
        let due: Int
    }

    private static let options: RaftOptions = {
        var options = RaftOptions()
        options.electionTicks = 10...20
        options.heartbeatTicks = 2
        options.maxInflightAppends = 4
        options.maxInflightBytes = 600
        options.appendBytes = 150
        options.maxUncommittedBytes = 2_000
        options.entryCacheBytes = 300
        return options
    }()

    private var random: SplitMix64
    private let founding: Configuration
    private(set) var plan: RaftFuzzPlan
    private(set) var now = 0
    private(set) var members: [Member] = []
    private var flights: [Flight] = []
    private var cuts: Set<[Int]> = []
    private var cutsUntil = 0
    private(set) var counts = RaftFuzzCounts()
    private(set) var invariants: RaftInvariants

    init(seed: UInt64) {
        random = SplitMix64(seed: seed)
        plan = RaftFuzzPlan(using: &random)
        founding = Names.configuration(plan.members, incarnation: random.next())
        invariants = RaftInvariants(founding: founding)
        for number in 1...plan.members {
            let node = SimulatedNode(
                id: Names.member(number), disk: SimulatedDisk(store: Names.store(number)), options: Self.options,
                seed: random.next())
            members.append(Member(node: node))
        }
    }

    // MARK: Running

    mutating func run(ticks: Int) throws(RaftInvariants.Violation) {
        for _ in 0..<ticks { try tick() }
    }

    /// All faults end; then, within a bound, the cluster is whole and serves.
    mutating func healAndServe() throws(RaftInvariants.Violation) {
        plan = plan.healed
        cuts = []
        for index in members.indices {
            members[index].downUntil = min(members[index].downUntil, now)
            members[index].pausedUntil = now
        }
        let deadline = now + 60 * Self.options.electionTicks.upperBound
        var target: LogIndex?
        while now < deadline {
            try tick()
            guard let leader = onlyLeader else { continue }
            if let reached = target, isWhole(through: reached) { return try invariants.checkLogMatching(members) }
            if target == nil, now % 50 == 0 {
                target = try propose(at: leader)
                for index in members.indices { try read(at: index) }
            }
            if let reached = target, members[leader].node.core.lastIndex < reached { target = nil }
        }
        let states = members.map { member in
            let core = member.node.core
            return "\(core.role) term \(core.term) commit \(core.commit) last \(core.lastIndex) mayVote \(core.mayVote)"
        }
        try fail("no service after the faults ended: \(states)")
    }

    private var onlyLeader: Int? {
        let leaders = members.indices.filter { members[$0].node.core.isLeader }
        return leaders.count == 1 ? leaders[0] : nil
    }

    private func isWhole(through target: LogIndex) -> Bool {
        let last = members[0].node.core.lastIndex
        return members.allSatisfy { member in
            member.applied >= target && member.applied == last && member.node.core.lastIndex == last
                && member.node.core.mayVote && member.read == nil
        }
    }

    private mutating func tick() throws(RaftInvariants.Violation) {
        now += 1
        try injectFaults()
        let founding = founding
        for index in members.indices.shuffled(using: &random) where isRunning(index) {
            try shakeHands(index)
            if isEmptyFounder(index), chance(0.2) { try input(index) { $0.found(founding) } }
            if chance(0.97) { try input(index) { $0.tick() } }
            if members[index].node.core.isLeader, chance(plan.proposals) { _ = try propose(at: index) }
            if chance(0.05) { try read(at: index) }
        }
        try deliver()
        for index in members.indices where isRunning(index) {
            if members[index].node.pending != nil, members[index].diskDue <= now { try persist(index) }
            try serveFetches(index)
            try run(index) { node in node.takeReady() }
        }
        if now % 20 == 0 { try invariants.checkLogMatching(members) }
    }

    private func isRunning(_ index: Int) -> Bool {
        members[index].downUntil <= now && members[index].pausedUntil <= now
    }

    private func isEmptyFounder(_ index: Int) -> Bool {
        members[index].generation == 1 && members[index].node.core.lastIndex == 0 && !members[index].node.core.mayVote
    }

    private mutating func propose(at index: Int) throws(RaftInvariants.Violation) -> LogIndex? {
        let payloads = (0..<Int.random(in: 1...3, using: &random)).map { _ in
            Command.put(key: [1], value: [UInt8](repeating: .random(in: .min ... .max, using: &random), count: 28))
        }
        var first: LogIndex?
        try input(index) { first = $0.propose(payloads)?.first }
        return first
    }

    private mutating func read(at index: Int) throws(RaftInvariants.Violation) {
        guard members[index].read == nil, members[index].node.core.mayServeReads else { return }
        let context = members[index].nextContext
        members[index].nextContext += 1
        members[index].read = (context, LogIndex(invariants.committed.count))
        try input(index) { $0.requestReadIndex(context) }
    }

    // MARK: Network and disks

    private mutating func input(_ index: Int, _ body: (inout RaftCore) -> Void) throws(RaftInvariants.Violation) {
        let takingReady = chance(0.7)
        try run(index) { node in node.input(takingReady: takingReady, body) }
    }

    private mutating func run(
        _ index: Int, _ body: (inout SimulatedNode) -> [Outgoing]
    ) throws(RaftInvariants.Violation) {
        let wasWriting = members[index].node.pending != nil
        let sent = body(&members[index].node)
        if !wasWriting, members[index].node.pending != nil {
            members[index].diskDue = now + Int.random(in: 0...plan.maxDiskDelay, using: &random)
        }
        try invariants.check(index, in: &members, counts: &counts)
        for outgoing in sent { try post(outgoing, from: index) }
        for request in members[index].node.takeFetches() {
            members[index].fetches.append((request, now + Int.random(in: 0...5, using: &random)))
        }
        for confirmed in members[index].node.takeConfirmedReads() { try check(confirmed, at: index) }
    }

    private mutating func post(_ outgoing: Outgoing, from index: Int) throws(RaftInvariants.Violation) {
        let to = Int(outgoing.to.rawValue) - 1
        let store = members[index].node.disk.store
        try invariants.checkVote(outgoing, of: store)
        if case .appendReply(let reply) = outgoing.message, case .rejected = reply.outcome { count(.appendRejected) }
        let copies = chance(plan.duplication) ? 2 : 1
        if copies == 2 { count(.messageDuplicated) }
        for _ in 0..<copies {
            if cuts.contains([index, to]) || chance(plan.loss) {
                count(.messageLost)
            } else {
                let due = now + Int.random(in: 1...plan.maxDelay, using: &random)
                flights.append(
                    Flight(from: index, to: to, store: store, message: outgoing.message, due: due))
            }
        }
    }

    private mutating func deliver() throws(RaftInvariants.Violation) {
        var due: [Flight] = []
        flights.removeAll { flight in
            guard flight.due <= now, members[flight.to].pausedUntil <= now else { return false }
            due.append(flight)
            return true
        }
        for flight in due.shuffled(using: &random) where isRunning(flight.to) {
            if flight.message.term < members[flight.to].node.core.term { count(.staleTermDelivered) }
            if chance(plan.forgeries) { try forge(flight) }
            let takingReady = chance(0.7)
            try run(flight.to) { node in
                node.step(
                    flight.message, from: Names.member(flight.from + 1), store: flight.store, takingReady: takingReady)
            }
        }
    }

    /// Another message arrives, with other integers. One that a member may have sent could break any promise; the others
    /// change nothing.
    private mutating func forge(_ flight: Flight) throws(RaftInvariants.Violation) {
        guard let forged = ForgedMessages.random(flight.message, using: &random) else { return }
        let (sender, before) = (Names.member(flight.from + 1), members[flight.to].node)
        var trial = before
        _ = trial.step(forged, from: sender, store: flight.store, takingReady: false)
        guard let refusal = trial.takeRefusals().first else { return }
        count(.forgeryRefused)
        if "\(trial.core)" != "\(before.core)" {
            try fail("member \(flight.to + 1) is changed by what it refuses: \(refusal)")
        }
        try run(flight.to) { node in
            let sent = node.step(forged, from: sender, store: flight.store)
            return node.takeRefusals() == [refusal] ? sent : []
        }
    }

    private mutating func persist(_ index: Int) throws(RaftInvariants.Violation) {
        let before = members[index].node
        if let last = before.pending?.entries.last, before.core.termOfEntry(at: last.index) != last.term {
            count(.writeOvertaken)
        }
        if let first = before.pending?.entries.first, first.index <= before.disk.lastIndex { count(.logTruncated) }
        let takingReady = chance(0.7)
        try run(index) { node in node.persist(takingReady: takingReady) }
    }

    private mutating func serveFetches(_ index: Int) throws(RaftInvariants.Violation) {
        let due = members[index].fetches.filter { $0.due <= now }
        members[index].fetches.removeAll { $0.due <= now }
        for (request, _) in due {
            let entries: [Entry] =
                chance(0.1)
                ? []
                : (request.from...request.through).prefix(3).compactMap { members[index].node.disk.entry(at: $0) }
            if !entries.isEmpty { count(.fetchServed) }
            try input(index) { $0.fetched(entries, for: request.member) }
        }
    }

    /// A connection that works in both directions shows each end the other's store.
    private mutating func shakeHands(_ index: Int) throws(RaftInvariants.Violation) {
        for other in members.indices where other != index && members[other].downUntil <= now {
            let store = members[other].node.disk.store
            guard members[index].knownStores[other] != store, !cuts.contains([index, other]),
                !cuts.contains([other, index]), chance(0.5)
            else { continue }
            members[index].knownStores[other] = store
            try input(index) { $0.identified(Names.member(other + 1), store: store) }
        }
    }

    private mutating func injectFaults() throws(RaftInvariants.Violation) {
        if now >= cutsUntil { cuts = [] }
        if chance(plan.cuts) { cutLinks() }
        for index in members.indices where members[index].downUntil <= now {
            if chance(plan.pauses) { members[index].pausedUntil = now + Int.random(in: 1...60, using: &random) }
            if chance(plan.crashes) { try crash(index) }
        }
    }

    private mutating func cutLinks() {
        cutsUntil = now + Int.random(in: 5...120, using: &random)
        let one = members.indices.randomElement(using: &random)!
        let kind = Int.random(in: 0..<5, using: &random)
        let side = Set(members.indices.filter { _ in chance(0.5) })
        for from in members.indices {
            for to in members.indices where from != to {
                let isCut =
                    switch kind {
                    case 0: from == one || to == one
                    case 1: side.contains(from) != side.contains(to)
                    case 2: from == one
                    case 3: to == one
                    // A bridge: `one` is the only way between the two sides.
                    default: from != one && to != one && side.contains(from) != side.contains(to)
                    }
                if isCut { cuts.insert([from, to]) }
            }
        }
    }

    private mutating func crash(_ index: Int) throws(RaftInvariants.Violation) {
        count(.crashed)
        let before = members[index].node
        if let state = before.pending?.hardState, state.vote != before.disk.hardState.vote { count(.voteLostInCrash) }
        var torn: Int?
        if let group = before.pending, chance(0.5) {
            torn = Int.random(in: 0...group.entries.count, using: &random)
            count(.groupTorn)
        }
        let downUntil = now + Int.random(in: 1...80, using: &random)
        members[index].node.restart(torn: torn, seed: random.next())
        if chance(plan.wipes), mayLoseDisk(index) {
            count(.diskWiped)
            invariants.lost(members[index].node.disk, of: index)
            let generation = members[index].generation + 1
            let disk = SimulatedDisk(store: Names.store(index + 1, generation: generation))
            let node = SimulatedNode(
                id: Names.member(index + 1), disk: disk, options: Self.options, seed: random.next())
            members[index] = Member(node: node, generation: generation)
        } else {
            let restored = members[index]
            if restored.node.core.term < before.disk.hardState.term { try fail("the term went down in a restart") }
            members[index] = Member(node: restored.node, generation: restored.generation)
            members[index].nextContext = restored.nextContext
        }
        members[index].downUntil = downUntil
        for other in members.indices where other != index && isRunning(other) && chance(0.5) {
            try input(other) { $0.disconnected(Names.member(index + 1)) }
        }
    }

    /// A disk may be lost while a majority of the members has its own, and every one of those knows of all stores that
    /// were recorded so far: what VikDB promises to survive.
    private func mayLoseDisk(_ index: Int) -> Bool {
        let sound = members.indices.filter { other in
            guard other != index else { return false }
            let disk = members[other].node.disk
            guard let configuration = invariants.configuration else { return members[other].generation == 1 }
            return configuration.value.member(Names.member(other + 1))?.store == disk.store
                && disk.hardState.commit >= configuration.index && disk.lastIndex >= configuration.index
        }
        return sound.count >= plan.members / 2 + 1
    }

    private mutating func check(_ confirmed: ConfirmedRead, at index: Int) throws(RaftInvariants.Violation) {
        guard let read = members[index].read, read.context == confirmed.context else {
            try fail("member \(index + 1) confirms a read that nobody waits for")
        }
        if confirmed.index < read.floor {
            try fail("member \(index + 1) reads at \(confirmed.index), but \(read.floor) was committed before")
        }
        members[index].read = nil
        count(.readConfirmed)
        if !members[index].node.core.isLeader { count(.readConfirmedByFollower) }
    }

    private func fail(_ text: String) throws(RaftInvariants.Violation) -> Never {
        throw RaftInvariants.Violation(text: text)
    }

    private mutating func chance(_ probability: Double) -> Bool {
        probability > 0 && Double.random(in: 0..<1, using: &random) < probability
    }

    private mutating func count(_ event: RaftFuzzEvent) {
        counts[event] += 1
    }
}
