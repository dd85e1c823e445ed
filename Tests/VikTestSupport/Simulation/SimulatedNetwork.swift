import NIOCore
import VikDB
import VikWire

/// The links between the nodes: which of them carry messages, and when those arrive. A plain value.
struct SimulatedNetwork {
    /// `isCut[a][b]`: nothing gets from a to b.
    private var isCut: [[Bool]]
    /// `areAppendsCut[a][b]`: no entries get from a to b, all else does.
    private var areAppendsCut: [[Bool]]
    /// Latest arrival by direction and channel, for links that keep order.
    private var lastArrival: [UInt64]
    private let nodeCount: Int

    init(nodeCount: Int) {
        self.nodeCount = nodeCount
        isCut = Array(repeating: Array(repeating: false, count: nodeCount), count: nodeCount)
        areAppendsCut = isCut
        lastArrival = Array(repeating: 0, count: nodeCount * nodeCount * VikWire.Channel.allCases.count)
    }

    func carries(from sender: Int, to receiver: Int) -> Bool {
        !isCut[sender][receiver]
    }

    /// A connection needs both directions.
    func connects(_ left: Int, _ right: Int) -> Bool {
        carries(from: left, to: right) && carries(from: right, to: left)
    }

    func carriesAppends(from sender: Int, to receiver: Int) -> Bool {
        carries(from: sender, to: receiver) && !areAppendsCut[sender][receiver]
    }

    mutating func cutAppends(from sender: Int, to receiver: Int) {
        areAppendsCut[sender][receiver] = true
    }

    mutating func healAppends() {
        for index in areAppendsCut.indices { areAppendsCut[index] = Array(repeating: false, count: nodeCount) }
    }

    mutating func cut(from sender: Int, to receiver: Int) {
        isCut[sender][receiver] = true
    }

    /// Nothing gets from one group to another; a node may be in several.
    mutating func split(_ groups: [[Int]]) {
        for left in 0..<nodeCount {
            for right in 0..<nodeCount where left != right {
                isCut[left][right] = !groups.contains { $0.contains(left) && $0.contains(right) }
            }
        }
    }

    mutating func heal() {
        for index in isCut.indices { isCut[index] = Array(repeating: false, count: nodeCount) }
    }

    /// When copies of a message sent now will arrive; none if it is lost.
    mutating func arrivals(
        now: UInt64, from sender: Int, to receiver: Int, on channel: VikWire.Channel, _ profile: SimulationProfile,
        using random: inout SplitMix64
    ) -> [UInt64] {
        guard carries(from: sender, to: receiver),
            channel != .bulk || carriesAppends(from: sender, to: receiver)
        else { return [] }
        if Int.random(in: 0..<1_000, using: &random) < profile.lossChance { return [] }
        var copies = 1
        if Int.random(in: 0..<1_000, using: &random) < profile.duplicationChance { copies = 2 }
        let link = (sender * nodeCount + receiver) * VikWire.Channel.allCases.count + Int(channel.rawValue)
        return (0..<copies).map { copy in
            var arrival = now + UInt64.random(in: profile.delay, using: &random)
            if copy > 0 || Int.random(in: 0..<1_000, using: &random) < profile.longDelayChance {
                arrival += UInt64.random(in: profile.longDelay, using: &random)
            }
            if profile.isOrdered, copy == 0 {
                arrival = max(arrival, lastArrival[link] + 1)
                lastArrival[link] = arrival
            }
            return arrival
        }
    }
}

extension Message {
    /// The message after its way through the real codec.
    func codecRoundTrip() throws(WireError) -> Message {
        var buffer = ByteBuffer()
        FrameEncoder.write(self, into: &buffer)
        guard let frame = try FrameDecoder(mode: .messages(channel)).next(from: &buffer), buffer.readableBytes == 0
        else { throw .truncated("a whole frame") }
        return try Message(from: frame)
    }
}
