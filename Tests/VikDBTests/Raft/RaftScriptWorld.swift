import NIOCore
import VikDB
import VikWire

/// The cluster that a script drives: every message and every write moves only when a command says so. A plain value.
///
///     nodes 3             members 1 to 3, founded, empty, connected; `nodes 3 learner 3`: member 3 does not vote
///     tick 1 5            five ticks of member 1
///     campaign 1          ticks of member 1 until it asks for votes
///     run 20              twenty ticks of all members, the mail delivered after each
///     settle              delivers mail until none is left
///     deliver 1->2 3      the first three messages from 1 to 2; without a number: all
///     deliver-last 1->2   the newest message from 1 to 2
///     repeat 1->2         a second copy of all messages from 1 to 2
///     drop 1->2           loses them; `*` stands for every member
///     cut 1->2, join 1->2 breaks and mends a link in one direction
///     propose 1 x         a command
///     remove 1 3          asks member 1 for the removal of member 3
///     promote 1 3         asks member 1 to make member 3 a voter
///     hand-over 1 2       asks member 1 to hand the office over to member 2
///     read 1 7            asks for a read index with context 7
///     slow 2, fast 2      whether writes of member 2 wait for `persist 2`
///     crash 2, start 2    loses what is not durable; `crash 2 torn 1`: the write in progress left one entry
///     wipe 2              starts with a new, empty disk
///     status, mail        all members; all messages on their way
struct RaftScriptWorld {
    struct Mistake: Error {
        let text: String
    }

    private struct Letter {
        let from: Int
        let to: Int
        let store: StoreID
        let message: Message
    }

    private static let options: RaftOptions = {
        var options = RaftOptions()
        options.electionTicks = 10...20
        options.heartbeatTicks = 2
        // One entry an append.
        options.appendBytes = 1
        return options
    }()

    private var nodes: [SimulatedNode] = []
    private var generations: [Int] = []
    private var down: Set<Int> = []
    private var slow: Set<Int> = []
    private var cut: Set<[Int]> = []
    private var mail: [Letter] = []
    private var output: [String] = []
    private var isQuiet = false
    private var lastStates: [String] = []

    /// Runs one command; what it prints ends with the members whose state it changed.
    mutating func execute(_ line: String) throws(Mistake) -> [String] {
        output = []
        isQuiet = false
        let words = line.split(separator: " ").map(String.init)
        try dispatch(words[0], Array(words.dropFirst()))
        let states = nodes.indices.map(state)
        if words[0] != "status" {
            for index in states.indices where index >= lastStates.count || states[index] != lastStates[index] {
                output.append(states[index])
            }
        }
        lastStates = states
        return output
    }

    private mutating func dispatch(_ command: String, _ words: [String]) throws(Mistake) {
        switch command {
        case "nodes": start(try number(words, 0), learner: words.contains("learner") ? try number(words, 2) : nil)
        case "tick":
            let index = try member(words)
            for _ in 0..<(try number(words, 1)) { input(index) { $0.tick() } }
        case "campaign":
            let index = try member(words)
            var ticks = 0
            repeat {
                input(index) { $0.tick() }
                ticks += 1
            } while nodes[index].core.role == .follower && ticks < 50
        case "run":
            isQuiet = true
            for _ in 0..<(try number(words, 0)) {
                for index in nodes.indices where !down.contains(index) { input(index) { $0.tick() } }
                try settle()
            }
        case "settle":
            isQuiet = true
            try settle()
        case "deliver":
            let matching = try letters(words)
            let limit = words.count > 1 ? try number(words, 1) : matching.count
            let chosen = matching.prefix(limit).map { mail[$0] }
            for position in matching.prefix(limit).reversed() { mail.remove(at: position) }
            for letter in chosen { deliver(letter) }
        case "deliver-last":
            guard let position = try letters(words).last else { throw Mistake(text: "no mail \(words)") }
            deliver(mail.remove(at: position))
        case "repeat": mail += try letters(words).map { mail[$0] }
        case "drop": for position in try letters(words).reversed() { mail.remove(at: position) }
        case "cut": cut.formUnion(try links(words))
        case "join": cut.subtract(try links(words))
        case "propose":
            let index = try member(words)
            var isTaken = false
            input(index) { isTaken = $0.propose([ByteBuffer(string: words.last!)]) != nil }
            if !isTaken { output.append("\(index + 1) refuses") }
        case "remove", "promote":
            let (index, member) = (try member(words), Names.member(try number(words, 1)))
            let change = command == "remove" ? MembershipChange.remove(member) : .promote(member)
            var refusal: MembershipRefusal?
            input(index) { core in
                do throws(MembershipRefusal) { _ = try core.propose(change) } catch { refusal = error }
            }
            if let refusal { output.append("\(index + 1) refuses: \(refusal)") }
        case "hand-over":
            let (index, target) = (try member(words), Names.member(try number(words, 1)))
            var isBegun = false
            input(index) { isBegun = $0.handOver(to: target) }
            if !isBegun { output.append("\(index + 1) refuses") }
        case "read":
            let (index, context) = (try member(words), UInt64(try number(words, 1)))
            input(index) { $0.requestReadIndex(context) }
        case "slow": slow.insert(try member(words))
        case "fast": slow.remove(try member(words))
        case "persist":
            let index = try member(words)
            take(nodes[index].persist(), from: index)
        case "crash":
            let index = try member(words)
            nodes[index].restart(torn: words.contains("torn") ? try number(words, 2) : nil, seed: UInt64(index))
            down.insert(index)
        case "start":
            let index = try member(words)
            down.remove(index)
            connect(index)
        case "wipe":
            let index = try member(words)
            generations[index] += 1
            let disk = SimulatedDisk(store: Names.store(index + 1, generation: generations[index]))
            nodes[index] = SimulatedNode(
                id: Names.member(index + 1), disk: disk, options: Self.options, seed: UInt64(index))
            down.remove(index)
            connect(index)
        case "status": output += nodes.indices.map(state)
        case "mail": output += mail.map(describe)
        default: throw Mistake(text: "unknown command \(command)")
        }
    }

    // MARK: The cluster

    private mutating func start(_ count: Int, learner: Int?) {
        var configuration = Names.configuration(count)
        if let learner { configuration = configuration.changing(Names.member(learner)) { $0.role = .learner } }
        generations = Array(repeating: 1, count: count)
        nodes = (1...count).map { number in
            SimulatedNode(
                id: Names.member(number), disk: SimulatedDisk(store: Names.store(number)), options: Self.options,
                seed: UInt64(number))
        }
        for index in nodes.indices {
            connect(index)
            input(index) { $0.found(configuration) }
        }
    }

    private mutating func connect(_ index: Int) {
        for other in nodes.indices where other != index && !down.contains(other) {
            let (own, others) = (nodes[index].disk.store, nodes[other].disk.store)
            input(index) { $0.identified(Names.member(other + 1), store: others) }
            input(other) { $0.identified(Names.member(index + 1), store: own) }
        }
    }

    private mutating func input(_ index: Int, _ body: (inout RaftCore) -> Void) {
        goOn(index, after: nodes[index].input(body))
    }

    private mutating func goOn(_ index: Int, after sent: [Outgoing]) {
        take(sent, from: index)
        while !slow.contains(index), nodes[index].pending != nil { take(nodes[index].persist(), from: index) }
        for request in nodes[index].takeFetches() {
            let entries = [nodes[index].disk.entry(at: request.from)!]
            input(index) { $0.fetched(entries, for: request.member) }
        }
        for read in nodes[index].takeConfirmedReads() {
            output.append("\(index + 1) confirms read \(read.context) at \(read.index)")
        }
    }

    private mutating func take(_ sent: [Outgoing], from index: Int) {
        for outgoing in sent {
            let to = Int(outgoing.to.rawValue) - 1
            let letter = Letter(from: index, to: to, store: nodes[index].disk.store, message: outgoing.message)
            if !isQuiet { output.append("  " + describe(letter) + (cut.contains([index, to]) ? " (lost)" : "")) }
            if !cut.contains([index, to]) { mail.append(letter) }
        }
    }

    private mutating func deliver(_ letter: Letter) {
        guard !down.contains(letter.to), !cut.contains([letter.from, letter.to]) else { return }
        let sent = nodes[letter.to].step(
            letter.message, from: Names.member(letter.from + 1), store: letter.store)
        goOn(letter.to, after: sent)
    }

    private mutating func settle() throws(Mistake) {
        for _ in 0..<10_000 {
            guard !mail.isEmpty else { return }
            deliver(mail.removeFirst())
        }
        throw Mistake(text: "the mail never ends")
    }

    // MARK: Words

    private func number(_ words: [String], _ position: Int) throws(Mistake) -> Int {
        guard position < words.count, let value = Int(words[position]) else {
            throw Mistake(text: "a number is missing: \(words)")
        }
        return value
    }

    private func member(_ words: [String]) throws(Mistake) -> Int {
        let value = try number(words, 0) - 1
        guard nodes.indices.contains(value) else { throw Mistake(text: "no member \(value + 1)") }
        return value
    }

    private func links(_ words: [String]) throws(Mistake) -> [[Int]] {
        let ends = (words.first ?? "").split(separator: "-").flatMap { $0.split(separator: ">") }
        guard ends.count == 2 else { throw Mistake(text: "a link is written 1->2: \(words)") }
        let choices = ends.map { end in end == "*" ? Array(nodes.indices) : Int(end).map { [$0 - 1] } ?? [] }
        return choices[0].flatMap { from in choices[1].map { [from, $0] } }.filter { $0[0] != $0[1] }
    }

    private func letters(_ words: [String]) throws(Mistake) -> [Int] {
        let wanted = try links(words)
        return mail.indices.filter { wanted.contains([mail[$0].from, mail[$0].to]) }
    }

    private func state(_ index: Int) -> String {
        let core = nodes[index].core
        let log = core.lastIndex == 0 ? [] : (1...core.lastIndex).map { String(core.termOfEntry(at: $0)!) }
        var text = "\(index + 1): \(down.contains(index) ? "down" : "\(core.role)") term \(core.term)"
        if core.hardState.vote != .none { text += " vote \(core.hardState.vote)" }
        if let leader = core.leader { text += " leader \(leader)" }
        text += " log [\(log.joined(separator: " "))] commit \(core.commit)"
        if core.applicable < core.commit { text += " durable \(core.applicable)" }
        if nodes[index].pending != nil { text += " writing" }
        if !core.mayVote { text += " non-voting" }
        if let members = core.configuration?.members, members.count < nodes.count {
            text += " members \(members.map { "\($0.id)" }.joined(separator: " "))"
        }
        if core.configuration?.member(nodes[index].id)?.role == .learner { text += " learner" }
        for violation in nodes[index].violations { text += " VIOLATION \(violation)" }
        for refusal in nodes[index].refusals { text += " REFUSAL \(refusal)" }
        return text
    }

    private func describe(_ letter: Letter) -> String {
        "\(letter.from + 1)->\(letter.to + 1) \(letter.message.inShort)"
    }
}

extension Message {
    fileprivate var inShort: String {
        switch self {
        case .voteRequest(let request):
            "\(request.isPreVote ? "pre-vote?" : "vote?") term \(request.term) last \(request.lastIndex)/\(request.lastTerm)"
        case .voteReply(let reply):
            "\(reply.isPreVote ? "pre-vote" : "vote") \(reply.isGranted ? "granted" : "refused") term \(reply.term)"
        case .append(let request):
            "append term \(request.term) after \(request.previousIndex)/\(request.previousTerm)"
                + " [\(request.entries.map { String($0.term) }.joined(separator: " "))] commit \(request.commit)"
        case .appendReply(let reply):
            switch reply.outcome {
            case .matched(let index): "matched \(index) term \(reply.term)"
            case .rejected(let previousIndex, let hintIndex, let hintTerm):
                "rejected \(previousIndex) hint \(hintIndex)/\(hintTerm) term \(reply.term)"
            }
        case .heartbeat(let heartbeat):
            "heartbeat term \(heartbeat.term) commit \(heartbeat.commit) round \(heartbeat.round)"
        case .heartbeatReply(let reply): "heard term \(reply.term) round \(reply.round)"
        case .readIndexRequest(let request): "read? term \(request.term) context \(request.context)"
        case .readIndexReply(let reply): "read term \(reply.term) context \(reply.context) index \(reply.index)"
        case .snapshotOffer(let offer): "snapshot? term \(offer.term) index \(offer.index)/\(offer.indexTerm)"
        case .snapshotChunk(let chunk): "chunk \(chunk.sequence) term \(chunk.term)"
        case .snapshotEnd(let end): "snapshot ends after \(end.chunks) term \(end.term)"
        case .snapshotReply(let reply): "snapshot \(reply.outcome) term \(reply.term)"
        case .timeoutNow(let message): "campaign! term \(message.term)"
        case .storeVerdict(let verdict): "\(verdict.finding) term \(verdict.term)"
        }
    }
}
