import DequeModule
import NIOCore
import VikWire

/// One snapshot on its way to one member: what is produced, sent and acknowledged. Bound to the node's loop; keeps the
/// state that it sends alive.
///
/// Chunks stay in a window until the receiver has taken them in, so that a connection that broke costs no more than the
/// window. Memory is bounded by it, whatever the size of the state.
final class SnapshotSender {
    enum Verdict: Equatable {
        case goesOn
        case installed(LogIndex)
        /// The receiver does not have what it had, or gave up: a new transfer is needed.
        case over
    }

    let member: MemberID
    let offer: SnapshotOffer
    let producer: SnapshotProducer
    private let maxWindow: Int
    /// Nil: unlimited.
    private let bytesPerTick: Int?

    /// Produced and not acknowledged, in order.
    private var window: Deque<SnapshotChunk> = []
    private var nextSequence: UInt64 = 1
    private var end: SnapshotEnd?
    private var isConnected = false
    /// The receiver answered the offer, and everything through here was sent on this connection since.
    private var sentThrough: UInt64?
    private var isEndSent = false
    private var isReading = false
    private var isReadToEnd = false
    /// Chunks that were read and are being encoded.
    private var encoding = 0
    private static let maxEncoding = 2
    /// Bytes that may be produced now.
    private var credit = 0
    private var movedAt: UInt64
    private var offeredAt: UInt64 = 0

    /// Sent and taken in so far, for status and metrics.
    private(set) var rawBytes: UInt64 = 0
    private(set) var wireBytes: UInt64 = 0

    /// - Parameter doublings: of the rate that an operator chose.
    init(
        to member: MemberID, _ offer: SnapshotOffer, _ producer: SnapshotProducer, options: NodeOptions,
        doublings: Int, now: UInt64
    ) {
        self.member = member
        self.offer = offer
        self.producer = producer
        maxWindow = options.snapshotWindow
        bytesPerTick = options.snapshotBytesPerSecond.map {
            max(1, $0 * options.tickMilliseconds / 1_000) << doublings
        }
        movedAt = now
    }

    /// How much of the state the receiver has taken in, by the estimate; 0 to 100.
    var percent: Int {
        min(100, Int(rawBytes * 100 / max(1, offer.estimatedBytes)))
    }

    func connected() {
        isConnected = true
        sentThrough = nil
        offeredAt = 0
    }

    func disconnected() {
        isConnected = false
        sentThrough = nil
    }

    /// One tick passed. - Returns: false if the receiver has not moved for too long.
    func tick(_ now: UInt64, _ options: NodeOptions) -> Bool {
        if let bytesPerTick {
            // What is not used is lost after a moment: no burst after a pause.
            credit = min(credit + bytesPerTick, max(10 * bytesPerTick, WireLimits.targetSnapshotChunkBytes))
        }
        if isConnected, offeredAt != 0, now - max(offeredAt, movedAt) >= options.snapshotOfferTicks {
            sentThrough = nil
            offeredAt = 0
        }
        return now - movedAt < options.snapshotPatienceTicks
    }

    /// Whether the next chunk is to be read; the caller then does so, and says so with ``read(isEnd:)`` and, once it is
    /// encoded, ``produced(_:_:)``.
    func takeRead() -> Bool {
        guard !isReading, !isReadToEnd, encoding < Self.maxEncoding, window.count + encoding < maxWindow,
            bytesPerTick == nil || credit > 0
        else { return false }
        isReading = true
        encoding += 1
        return true
    }

    func read(isEnd: Bool) {
        isReading = false
        isReadToEnd = isEnd
    }

    func produced(_ product: SnapshotProducer.Product, _ now: UInt64) {
        encoding -= 1
        movedAt = now
        switch product {
        case .chunk(let chunk):
            precondition(chunk.sequence == nextSequence, "chunks are produced in order")
            nextSequence += 1
            if bytesPerTick != nil { credit -= Int(chunk.rawBytes) }
            window.append(chunk)
        case .end(let end): self.end = end
        }
    }

    /// Takes an answer of the receiver; of one that no receiver gives nothing.
    func answered(_ outcome: SnapshotReply.Outcome, _ now: UInt64) throws(PeerViolation) -> Verdict {
        switch outcome {
        case .refused: return .over
        case .installed(let index): return index >= offer.index ? .installed(index) : .over
        case .wants(let sequence):
            guard sequence <= nextSequence else {
                throw .wantsUnknownChunk(sequence: sequence, next: nextSequence)
            }
            let firstKept = window.first?.sequence ?? nextSequence
            // It has everything, and takes its time to install it.
            if end != nil, sequence == nextSequence { movedAt = now }
            guard sequence >= firstKept else {
                // Behind the window: the receiver lost what it had. Late answers to what was resent say nothing.
                return sentThrough == nil ? .over : .goesOn
            }
            while let first = window.first, first.sequence < sequence {
                rawBytes += UInt64(first.rawBytes)
                wireBytes += UInt64(first.bytes.readableBytes)
                window.removeFirst()
                movedAt = now
            }
            if sentThrough == nil {
                sentThrough = sequence - 1
                isEndSent = false
            }
            return .goesOn
        }
    }

    /// What is to be sent now.
    func takeMessages(_ now: UInt64) -> [Message] {
        guard isConnected else { return [] }
        guard let sent = sentThrough else {
            guard offeredAt == 0 else { return [] }
            offeredAt = max(1, now)
            return [.snapshotOffer(offer)]
        }
        var messages: [Message] = window.drop { $0.sequence <= sent }.map { .snapshotChunk($0) }
        sentThrough = nextSequence - 1
        if let end, !isEndSent {
            isEndSent = true
            messages.append(.snapshotEnd(end))
        }
        return messages
    }
}
