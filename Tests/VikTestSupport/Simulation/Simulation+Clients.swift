import NIOCore
import VikDB
import VikWire

/// Clients: what they ask, how it ends for them, and whether the answer is right.
extension Simulation {
    func startClients() {
        clients.isIssuing = true
        for client in 0..<profile.clientCount { scheduleClient(client) }
    }

    private func scheduleClient(_ client: Int) {
        schedule(after: draw(profile.thinkTime)) { [unowned self] in
            guard clients.isIssuing else { return }
            if !issueAny(client) { scheduleClient(client) }
        }
    }

    /// - Returns: whether there is a request now that the client waits for.
    private func issueAny(_ client: Int) -> Bool {
        let dice = Int.random(in: 0..<100, using: &random)
        let isWrite = dice < 55
        let prefersLeader = isWrite && chance(85)
        let node = prefersLeader ? nodes[clients.leaderHint] : nodes.randomElement(using: &random)!
        guard node.process != nil else {
            clients.leaderHint = Int.random(in: 0..<nodes.count, using: &random)
            return false
        }
        let consistency = chance(10) ? ReadConsistency.stale : .linearizable
        let key = clients.keys.randomElement(using: &random)!
        switch dice {
        case 0..<30: issueWrite([key], client: client, at: node)
        case 30..<38: issueWrite(["f\(Int.random(in: 0..<60, using: &random))"], client: client, at: node)
        case 38..<48:
            let keys = (0..<Int.random(in: 1...5, using: &random)).map { _ in
                clients.keys.randomElement(using: &random)!
            }
            issueWrite(keys, client: client, at: node)
        case 48..<55: issueWrite([key], deletes: true, client: client, at: node)
        case 55..<88: issue(.get(key: key, consistency), client: client, at: node)
        default:
            let end = chance(40) ? "" : clients.keys.randomElement(using: &random)!
            let limit = [1, 3, 1_000].randomElement(using: &random)!
            issue(.range(start: chance(50) ? "" : key, end: end, limit: limit, consistency), client: client, at: node)
        }
        return true
    }

    @discardableResult
    func issueWrite(_ keys: [String], deletes: Bool = false, client: Int, at node: SimulatedNode) -> UInt64 {
        let token = clients.makeToken()
        var command = ByteBuffer()
        var items: [(key: String, value: String?)] = []
        Command.writeHeader(operationCount: keys.count, into: &command)
        for (ordinal, key) in keys.enumerated() {
            // The last write of a repeated key wins; the others are never seen.
            items.removeAll { $0.key == key }
            if deletes {
                Command.writeDelete(key: Array(key.utf8), into: &command)
                items.append((key, nil))
            } else {
                let value = keys.count == 1 ? "\(token)" : "\(token)-\(ordinal)"
                let padding = Int.random(in: 0...profile.maxPaddingBytes, using: &random)
                Command.writePut(
                    key: Array(key.utf8), value: SimulatedValue.bytes(value, padding: padding), into: &command)
                items.append((key, value))
            }
        }
        issue(.write(command: command, items: items), client: client, at: node, token: token)
        return token
    }

    @discardableResult
    func issue(
        _ kind: SimulatedRequest.Kind, client: Int, at node: SimulatedNode, token given: UInt64? = nil
    ) -> UInt64 {
        let token = given ?? clients.makeToken()
        guard let process = node.process else { preconditionFailure("requests go to a running node") }
        clients.pending[token] = SimulatedRequest(
            client: client, kind: kind, call: now, node: node, process: process.number)
        let sink = clients.sinks[client % clients.sinks.count]
        let input: NodeInput =
            switch kind {
            case .write(let command, _): .write(command: command, token: token, sink: sink)
            case .get(let key, let consistency):
                .read(.get(key: Array(key.utf8)), consistency, token: token, sink: sink)
            case .range(let start, let end, let limit, let consistency):
                .read(
                    .range(start: Array(start.utf8), end: Array(end.utf8), limit: limit, maxBytes: 64 << 10),
                    consistency, token: token, sink: sink)
            }
        at(process, after: draw(20...400)) { [unowned self] in
            clients.unanswered[token] = process.number
            arrive(input, at: process)
        }
        // The client's patience is longer than the node's, but not endless: a node may be paused.
        let patience = UInt64(profile.nodeOptions.requestWaitTicks) * 10_000 * 2
        schedule(after: patience) { [unowned self] in
            if clients.pending[token] != nil { conclude(token, nil) }
        }
        return token
    }

    /// The process is gone, and with it the answers to what it was asked.
    func abandonRequests(at process: SimulatedProcess) {
        let tokens = clients.pending.filter { $0.value.process == process.number }.map(\.key).sorted()
        for token in tokens { conclude(token, nil) }
        clients.unanswered = clients.unanswered.filter { $0.value != process.number }
    }

    // MARK: Answers

    func takeReplies() {
        for sink in clients.sinks {
            for reply in sink.replies.takeAll() {
                guard clients.unanswered.removeValue(forKey: reply.token) != nil else {
                    return fail("request \(reply.token) was answered twice")
                }
                judge(reply)
                // Some answers never reach their client.
                if isFaulty, chance(2) { continue }
                schedule(after: draw(0...300)) { [unowned self] in
                    if clients.pending[reply.token] != nil { conclude(reply.token, reply.outcome) }
                }
            }
        }
    }

    /// An answer is held against the committed history at once, whether or not it reaches its client.
    private func judge(_ reply: Reply) {
        trace.note(12, reply.token, text: "request \(reply.token): \(brief(reply.outcome))")
        switch reply.outcome {
        case .notApplied: clients.refused.insert(reply.token)
        case .unknown, .notAnswered, .administered, .notAdministered: break
        case .written(let version, _):
            guard let request = clients.pending[reply.token], case .write(let command, _) = request.kind else { return }
            guard let entry = oracle.committedEntry(at: version), entry.kind == .command, entry.payload == command
            else {
                return fail("write \(reply.token) was acknowledged as entry \(version), which is not committed as such")
            }
        case .answered(let result, let index):
            guard let request = clients.pending[reply.token] else { return }
            guard index <= oracle.committedIndex else { return fail("a read was answered past what is committed") }
            if !matchesModel(result, request.kind, at: index) {
                fail("read \(reply.token) of \(request.kind) at \(request.node.label), index \(index), got \(result)")
            }
        }
    }

    private func brief(_ outcome: Reply.Outcome) -> String {
        switch outcome {
        case .answered(.value(let value), let index):
            "read \(value.map { SimulatedValue.name($0.bytes) } ?? "no such key") at \(index)"
        case .answered(.page(let page), let index): "read \(page.items.count) items at \(index)"
        default: "\(outcome)"
        }
    }

    private func matchesModel(_ result: QueryResult, _ kind: SimulatedRequest.Kind, at index: LogIndex) -> Bool {
        switch (kind, result) {
        case (.get(let key, _), .value(let value)):
            return oracle.model.get(key, at: index) == value
        case (.range(let start, let end, let limit, _), .page(let page)):
            let expected = oracle.model.range(from: start, to: end, at: index)
            let items = expected.prefix(page.items.count)
            guard page.items.count == items.count, page.items.count <= limit,
                zip(page.items, items).allSatisfy({ $0.key == Array($1.key.utf8) && $0.value == $1.value })
            else { return false }
            let next = expected.count > items.count ? Array(expected[items.count].key.utf8) : nil
            return page.next == next
        default: return false
        }
    }

    /// The client knows how its request ended, or gives up (nil), and goes on.
    private func conclude(_ token: UInt64, _ outcome: Reply.Outcome?) {
        let request = clients.pending.removeValue(forKey: token)!
        clients.outcomes[token] = outcome
        switch request.kind {
        case .write(_, let items): record(token, request, items, outcome)
        case .get, .range: recordRead(token, request, outcome)
        }
        if request.client < profile.clientCount { scheduleClient(request.client) }
    }

    private func record(
        _ token: UInt64, _ request: SimulatedRequest, _ items: [(key: String, value: String?)],
        _ outcome: Reply.Outcome?
    ) {
        let result: HistoryOperation.Outcome
        switch outcome {
        case .written:
            result = .ok
            coverage[.writesAcknowledged] += 1
            clients.leaderHint = request.node.position
        case .notApplied(let refusal):
            result = .notApplied
            coverage[.writesRefused] += 1
            clients.leaderHint = Int.random(in: 0..<nodes.count, using: &random)
            if case .notLeader(let leader?) = refusal,
                let node = nodes.first(where: { leader.hasPrefix($0.label + ":") })
            {
                clients.leaderHint = node.position
            }
        default:
            result = .unknown
            coverage[.writesUnknown] += 1
            clients.leaderHint = Int.random(in: 0..<nodes.count, using: &random)
        }
        for (key, value) in items {
            history.operations.append(
                HistoryOperation(
                    client: request.client, kind: value == nil ? .delete : .put, key: key, value: value,
                    call: request.call * 1_000, return: outcome == nil ? nil : now * 1_000, outcome: result,
                    node: request.node.label, group: items.count > 1 ? token : nil))
        }
    }

    private func recordRead(_ token: UInt64, _ request: SimulatedRequest, _ outcome: Reply.Outcome?) {
        guard case .answered(let result, _) = outcome else {
            if case .notAnswered = outcome { coverage[.readsRefused] += 1 }
            return
        }
        var reads: [(key: String, value: String?)] = []
        switch (request.kind, result) {
        case (.get(let key, .linearizable), .value(let value)):
            reads = [(key, value.map { SimulatedValue.name($0.bytes) })]
        case (.range(let start, let end, _, .linearizable), .page(let page)):
            let stop = page.next.map { String(decoding: $0, as: UTF8.self) } ?? end
            for key in clients.keys where key >= start && (stop.isEmpty || key < stop) {
                let item = page.items.first { $0.key == Array(key.utf8) }
                reads.append((key, item.map { SimulatedValue.name($0.value) }))
            }
        default:
            coverage[.staleReads] += 1
            return
        }
        let isLeader = request.node.process?.shell.core.isLeader ?? false
        coverage[isLeader ? .leaderReads : .followerReads] += 1
        for (key, value) in reads {
            history.operations.append(
                HistoryOperation(
                    client: request.client, kind: .get, key: key, value: value, call: request.call * 1_000,
                    return: now * 1_000, outcome: .ok, node: request.node.label, group: reads.count > 1 ? token : nil))
        }
    }
}
