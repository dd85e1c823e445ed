import NIOCore
import VikDB
import VikWire

/// Messages and connections.
extension Simulation {
    /// Nil: nobody is that member any more, or yet.
    func node(_ member: MemberID) -> SimulatedNode? {
        nodes.first { $0.member == member }
    }

    func send(_ message: Message, from process: SimulatedProcess, to member: MemberID) {
        let sender = process.node
        noteClaims(of: message, by: process, to: member)
        guard let receiver = node(member) else { return }
        if message.channel == .snapshot { return sendChunk(message, from: process, to: receiver) }
        // A message travels on a connection, and that reaches one process.
        guard let target = process.connected[receiver.position] else { return }
        let arrivals = network.arrivals(
            now: now, from: sender.position, to: receiver.position, on: message.channel, hostility, using: &random)
        if arrivals.isEmpty { coverage[.messagesLost] += 1 }
        if arrivals.count > 1 { coverage[.messagesDuplicated] += 1 }
        let (member, store) = (sender.member, sender.store)
        for arrival in arrivals {
            schedule(after: arrival - now) { [unowned self] in
                deliver(message, from: sender, as: member, store, to: receiver, target)
            }
        }
    }

    /// Chunks arrive in order, all those before the connection breaks.
    private func sendChunk(_ message: Message, from process: SimulatedProcess, to receiver: SimulatedNode) {
        let position = receiver.position
        guard let link = process.snapshotLinks[position] else { return }
        if case .snapshotOffer = message { coverage[.snapshotsOffered] += 1 }
        if case .snapshotChunk(let chunk) = message {
            let key = ChunkKey(transfer: chunk.transfer, sequence: chunk.sequence)
            if !chunksSent.insert(key).inserted { coverage[.snapshotsResumed] += 1 }
        }
        let arrival = max(now + draw(hostility.delay), link.lastArrival + 1)
        process.snapshotLinks[position]!.lastArrival = arrival
        let (member, store) = (process.node.member, process.node.store)
        schedule(after: arrival - now) { [unowned self] in
            guard process.snapshotLinks[position]?.number == link.number else { return }
            deliver(message, from: process.node, as: member, store, to: receiver, link.target)
        }
    }

    private func deliver(
        _ message: Message, from sender: SimulatedNode, as member: MemberID, _ store: StoreID,
        to receiver: SimulatedNode, _ target: Int
    ) {
        guard let process = receiver.process, process.number == target,
            network.carries(from: sender.position, to: receiver.position)
        else { return }
        trace.note(
            9, UInt64(sender.position), UInt64(receiver.position), message.term,
            text: "\(sender.label) -> \(receiver.label): \(brief(message))")
        var received = message
        if profile.usesCodec {
            coverage[.codecRoundTrips] += 1
            guard let decoded = try? message.codecRoundTrip(), decoded == message else {
                return fail("the codec changes \(brief(message))")
            }
            received = decoded
        }
        let input = NodeInput.message(received, from: member, store: store)
        at(process, after: 0) { [unowned self] in arrive(input, at: process) }
    }

    private func brief(_ message: Message) -> String {
        if case .snapshotChunk(let chunk) = message {
            return "chunk \(chunk.sequence) of \(chunk.transfer % 1000), \(chunk.rawBytes) bytes"
        }
        if case .append(let request) = message {
            return "append term \(request.term) after \(request.previousIndex) of \(request.previousTerm), "
                + "\(request.entries.count) entries, commit \(request.commit)"
        }
        return "\(message)"
    }

    // MARK: Connections

    /// Dials, now and again, every peer that no connection reaches.
    func scheduleConnecting(_ process: SimulatedProcess, after delay: UInt64) {
        at(process, after: delay) { [unowned self] in
            for peer in nodes where peer !== process.node { connect(process, to: peer) }
            followSnapshotWishes(of: process)
            noticeCutAppends(of: process)
            scheduleConnecting(process, after: draw(20_000...60_000))
        }
    }

    /// A connection that carries entries breaks, or is made again, some time after its link.
    private func noticeCutAppends(of process: SimulatedProcess) {
        for peer in nodes where peer !== process.node && chance(30) {
            guard process.connected[peer.position] != nil else { continue }
            let isCut = !network.carriesAppends(from: process.node.position, to: peer.position)
            guard isCut != process.cutAppends.contains(peer.position) else { continue }
            if isCut {
                process.cutAppends.insert(peer.position)
                arrive(.appendsCutOff(peer.member), at: process)
            } else {
                process.cutAppends.remove(peer.position)
                arrive(.appendsOpened(peer.member), at: process)
            }
        }
    }

    private func connect(_ process: SimulatedProcess, to peer: SimulatedNode) {
        guard let target = peer.process, !peer.isPaused, process.connected[peer.position] == nil,
            network.connects(process.node.position, peer.position), process.knows(peer.member)
        else { return }
        let hello = target.hello(to: process.node)
        // The transport refuses members of another cluster.
        let own = process.shell.localHello(to: peer.member).incarnation
        guard own == .zero || hello.incarnation == .zero || own == hello.incarnation else { return }
        var buffer = ByteBuffer()
        FrameEncoder.write(helloReply: hello, into: &buffer)
        guard let frame = try? FrameDecoder(mode: .helloReply).next(from: &buffer), (try? Hello(from: frame)) == hello
        else { return fail("the codec changes a hello") }
        let dialler = process.hello(to: peer)
        let acknowledged = process.shell.core.acknowledgedLog(of: peer.member)
        if !target.knows(process.node.member), target.shell.mayBeNew(dialler) {
            coverage[.acquaintances] += 1
            arrive(.acquainted(dialler), at: target)
            return
        } else if !target.knows(process.node.member) {
            if own != .zero, own == hello.incarnation {
                coverage[.unknownToPeer] += 1
                arrive(.unknownToPeer(hello), at: process)
            }
            return
        }
        if target.shell.storeRefusal(of: dialler) != nil {
            coverage[.storesRefused] += 1
            if own != .zero, own == hello.incarnation { arrive(.storeRefused(hello), at: process) }
            return
        }
        if process.shell.storeRefusal(of: hello) != nil { return }
        trace.note(
            10, UInt64(process.node.position), UInt64(peer.position),
            text: "\(process.node.label) reaches \(peer.label)")
        process.connected[peer.position] = target.number
        arrive(.peerAccepted(dialler), at: target)
        arrive(.peerConnected(hello, acknowledged: acknowledged), at: process)
    }

    /// Connections to and from those that are no peers any more end.
    func dropFormerPeers(of process: SimulatedProcess) {
        for peer in nodes where peer !== process.node && !process.knows(peer.member) {
            if process.connected[peer.position] != nil { disconnect(process, from: peer, after: 0) }
            guard let other = peer.process, other.connected[process.node.position] == process.number else { continue }
            disconnect(other, from: process.node, after: draw(0...5_000))
        }
    }

    /// The connection from `process` to `peer` breaks, once it is noticed.
    func disconnect(_ process: SimulatedProcess, from peer: SimulatedNode, after delay: UInt64) {
        let number = process.connected[peer.position]
        at(process, after: delay) { [unowned self] in
            guard let number, process.connected[peer.position] == number else { return }
            process.connected[peer.position] = nil
            // A broken connection carries no entries either, and is told so.
            if process.cutAppends.insert(peer.position).inserted { arrive(.appendsCutOff(peer.member), at: process) }
            cutSnapshotLink(of: process, to: peer)
            trace.note(
                11, UInt64(process.node.position), UInt64(peer.position),
                text: "\(process.node.label) loses \(peer.label)")
            arrive(.peerDisconnected(peer.member), at: process)
        }
    }

    /// Makes and breaks connections for snapshots as the node wants them.
    func followSnapshotWishes(of process: SimulatedProcess) {
        for peer in nodes where peer !== process.node {
            let isWanted = process.snapshotReceivers.contains(peer.member)
            if !isWanted { process.snapshotLinks[peer.position] = nil }
            if isWanted, process.snapshotLinks[peer.position] == nil, let target = peer.process, !peer.isPaused,
                process.connected[peer.position] == target.number,
                network.connects(process.node.position, peer.position)
            {
                nextLinkNumber += 1
                process.snapshotLinks[peer.position] = (target.number, nextLinkNumber, now)
                arrive(.snapshotConnected(peer.member), at: process)
            }
        }
    }

    /// Breaks the connections for snapshots of a process; it dials again.
    func cutSnapshotLinks(of process: SimulatedProcess) {
        for position in process.snapshotLinks.keys.sorted() { cutSnapshotLink(of: process, to: nodes[position]) }
    }

    func cutSnapshotLink(of process: SimulatedProcess, to peer: SimulatedNode) {
        guard process.snapshotLinks.removeValue(forKey: peer.position) != nil else { return }
        coverage[.snapshotLinksCut] += 1
        trace.note(
            15, UInt64(process.node.position), UInt64(peer.position),
            text: "\(process.node.label)'s snapshot connection to \(peer.label) breaks")
        arrive(.snapshotDisconnected(peer.member), at: process)
    }

    /// Connections over cut links are noticed sooner or later, or not at all before the link is whole again.
    func noticeCuts() {
        for node in nodes {
            guard let process = node.process else { continue }
            for peer in nodes where peer !== node && !network.connects(node.position, peer.position) && chance(50) {
                disconnect(process, from: peer, after: draw(0...1_000_000))
            }
        }
    }
}
