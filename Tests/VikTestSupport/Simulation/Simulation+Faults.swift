import Glibc
import VikDB
import VikWire

/// What goes wrong while a run is in its faulty time.
extension Simulation {
    func startFaults() {
        isFaulty = true
        scheduleFault()
    }

    private func scheduleFault() {
        guard !profile.faults.isEmpty else { return }
        schedule(after: draw(profile.faultPause)) { [unowned self] in
            guard isFaulty else { return }
            inject(profile.faults.randomElement(using: &random)!)
            scheduleFault()
        }
    }

    private func inject(_ fault: SimulationProfile.Fault) {
        let node = nodes.randomElement(using: &random)!
        trace.note(13, UInt64(node.position), text: "fault: \(fault)")
        switch fault {
        case .crash: crash(node, restartAfter: draw(10_000...1_500_000))
        case .leave: crash(node, restartAfter: draw(1_000_000...6_000_000))
        case .cutAppends:
            coverage[.appendsCutOff] += 1
            for peer in nodes where peer !== node && chance(80) {
                network.cutAppends(from: node.position, to: peer.position)
            }
            schedule(after: draw(100_000...2_000_000)) { [unowned self] in network.healAppends() }
        case .crashMany:
            for node in nodes where chance(70) { crash(node, restartAfter: draw(10_000...800_000)) }
        case .stop:
            guard let process = node.process else { return }
            process.isStopping = true
            at(process, after: 0) { [unowned self] in arrive(.stop, at: process) }
        case .pause:
            pause(node)
            schedule(after: draw(20_000...1_500_000)) { [unowned self] in resume(node) }
        case .slowDisk:
            coverage[.slowDisks] += 1
            node.slowness = draw(10...100)
            schedule(after: draw(100_000...1_500_000)) { node.slowness = 1 }
        case .diskError:
            guard node.process != nil else { return }
            node.expectsFailure = true
            node.disk.failCall(after: Int.random(in: 0..<20, using: &random), code: chance(70) ? EIO : ENOSPC)
        case .isolate: partition([[node.position], nodes.map(\.position).filter { $0 != node.position }])
        case .split:
            let side = nodes.map { _ in chance(50) }
            partition([true, false].map { value in nodes.map(\.position).filter { side[$0] == value } })
        case .bridge:
            let others = nodes.map(\.position).filter { $0 != node.position }
            let side = nodes.map { _ in chance(50) }
            partition([true, false].map { value in [node.position] + others.filter { side[$0] == value } })
        case .oneWay:
            coverage[.oneWayLinks] += 1
            for peer in nodes where peer !== node && chance(60) {
                if chance(50) {
                    network.cut(from: node.position, to: peer.position)
                } else {
                    network.cut(from: peer.position, to: node.position)
                }
            }
            scheduleHeal()
        case .changeMembers: changeMembers()
        case .replaceMember: replaceMember()
        case .shrinkQuorum: shrinkQuorum()
        case .handOver: handOver()
        case .cutSnapshots:
            for node in nodes { if let process = node.process { cutSnapshotLinks(of: process) } }
        case .wipe:
            let (voters, quorum) = voters(of: oracle.configuration)
            guard node.process != nil, voters.count(where: { $0 !== node && remembers($0) }) >= quorum else { return }
            wipe(node, restartAfter: draw(10_000...1_000_000))
        case .zombie:
            let (voters, quorum) = voters(of: oracle.configuration)
            guard node.formerStore != nil, voters.count(where: { $0 !== node && remembers($0) }) >= quorum else {
                return
            }
            bringBack(node, restartAfter: draw(10_000...1_000_000))
        }
    }

    /// Whether a node's disk vouches for what the cluster knows of it and of the others. Without a majority of such nodes
    /// no leader can be elected: a member does not recognize a store of which it does not know that it has replaced
    /// another.
    private func remembers(_ node: SimulatedNode) -> Bool {
        let log = try? LogStore.open(
            directory: SimulatedNode.logDirectory, fileSystem: node.disk.durableCopy(), options: profile.logOptions)
        return node.isTrusted && (log?.1.hardState.commit ?? 0) >= oracle.configurationIndex
    }

    private func partition(_ groups: [[Int]]) {
        coverage[.partitions] += 1
        network.split(groups)
        scheduleHeal()
    }

    private func scheduleHeal() {
        noticeCuts()
        schedule(after: draw(50_000...2_000_000)) { [unowned self] in network.heal() }
    }

    /// The faults end: whole links, quick disks, and, unless those that are down are to stay so, all nodes up.
    func endFaults(restarting: Bool) {
        trace.note(14, text: "calm")
        isFaulty = false
        network.heal()
        network.healAppends()
        hostility.lossChance = 0
        hostility.duplicationChance = 0
        hostility.longDelayChance = 0
        hostility.delay = 50...400
        hostility.syncTime = 100...2_000
        for node in nodes {
            node.slowness = 1
            node.disk.failCall(after: 1 << 40, code: 0)
            node.disk.capacity = .max
            resume(node)
            guard node.process == nil else { continue }
            node.isRestartDue = false
            if restarting { schedule(after: draw(0...100_000)) { [unowned self] in start(node) } }
        }
        staff()
    }
}
