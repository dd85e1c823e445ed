import NIOCore
import Synchronization
import VikWire

/// Takes the chunks of one snapshot in: jobs of the snapshot lane, one at a time.
final class SnapshotIntake: Sendable {
    enum Failure: Error {
        /// The bytes are not what the protocol says: the transfer ends, the node goes on.
        case malformed(String)
        case storage(StorageError)
    }

    private struct State: ~Copyable {
        var writer: SnapshotWriter?
        var decompressor = ChunkDecompressor()
        /// Decoded as soon as it has come, so that nothing is put in the place of the own state without one.
        var configuration: Configuration?
        var totals = SnapshotEnd(term: 0, transfer: 0, chunks: 0, records: 0, rawBytes: 0, checksum: 0)
    }

    private let engine: Engine
    private let index: LogIndex
    /// Never contended: jobs come one after another.
    private let state = Mutex(State())

    init(engine: Engine, index: LogIndex) {
        self.engine = engine
        self.index = index
    }

    func takeIn(_ chunk: SnapshotChunk) throws(Failure) {
        try state.withLock { state throws(Failure) in
            let raw: ByteBuffer
            switch chunk.encoding {
            case .stored: raw = chunk.bytes
            case .zlib:
                do throws(WireError) {
                    raw = try state.decompressor.decompress(chunk.bytes, rawBytes: Int(chunk.rawBytes))
                } catch {
                    throw .malformed("chunk \(chunk.sequence): \(error)")
                }
            }
            guard Checksum.crc32(raw) == chunk.rawChecksum else {
                throw .malformed("chunk \(chunk.sequence) does not match its checksum")
            }
            do throws(SnapshotError) {
                if state.writer == nil { state.writer = engine.snapshotWriter(for: index) }
                try state.writer!.append(raw)
            } catch {
                switch error {
                case .storage(let error): throw .storage(error)
                case .malformed(let reason): throw .malformed("chunk \(chunk.sequence): \(reason)")
                }
            }
            if state.configuration == nil, let stored = state.writer!.configuration {
                do throws(WireError) {
                    state.configuration = try Configuration(from: ByteBuffer(bytes: stored))
                } catch {
                    throw .malformed("chunk \(chunk.sequence): its configuration does not decode: \(error)")
                }
            }
            state.totals.chunks += 1
            state.totals.rawBytes += UInt64(raw.readableBytes)
            state.totals.checksum = Checksum.crc32Combine(
                state.totals.checksum, chunk.rawChecksum, secondBytes: raw.readableBytes)
            state.totals.records = state.writer!.records
        }
    }

    /// Whether everything that was sent has been taken in, and is what was sent.
    func matches(_ end: SnapshotEnd) -> Bool {
        state.withLock { state in
            state.totals.chunks == end.chunks && state.totals.records == end.records
                && state.totals.rawBytes == end.rawBytes && state.totals.checksum == end.checksum
        }
    }

    /// The cluster's, as far as it has been taken in.
    var configuration: Configuration? { state.withLock { $0.configuration } }

    /// Puts the snapshot in the place of the engine's state. A job of the background lane.
    func install(term: Term) throws(StorageError) {
        try state.withLock { state throws(StorageError) in
            try engine.install(state.writer!, at: FlushedPosition(index: index, term: term))
        }
    }

    func abandon() {
        state.withLock { state in
            state.writer?.abandon()
            state.writer = nil
        }
    }
}

/// One snapshot on its way in. Bound to the node's loop; what it has received outlives connections, not the process.
final class SnapshotReceiver {
    enum Phase: Equatable {
        case receiving
        /// Everything is here and right: waits until nothing else changes log and engine.
        case waiting
        case installing
    }

    let offer: SnapshotOffer
    /// Of this process, never used twice: the same transfer may be begun anew.
    let serial: UInt64
    let intake: SnapshotIntake
    var phase = Phase.receiving
    /// The next chunk that is taken from the network, and the one after those that are written.
    private(set) var nextSequence: UInt64 = 1
    private(set) var takenIn: UInt64 = 0
    private(set) var rawBytes: UInt64 = 0
    private var end: SnapshotEnd?
    private(set) var movedAt: UInt64
    /// Of records that were accepted: all, and those of them that the free space as last measured may not show yet.
    private var acceptedBytes: UInt64 = 0
    private(set) var unmeasuredBytes: UInt64 = 0

    init(_ offer: SnapshotOffer, serial: UInt64, engine: Engine, now: UInt64) {
        self.offer = offer
        self.serial = serial
        intake = SnapshotIntake(engine: engine, index: offer.index)
        movedAt = now
    }

    var percent: Int {
        min(100, Int(rawBytes * 100 / max(1, offer.estimatedBytes)))
    }

    /// Whether `chunk` is the next one; it is then to be taken in. Those that wait for that are in memory, so no sender may
    /// send more of them than the window has.
    func accept(_ chunk: SnapshotChunk, _ now: UInt64) throws(PeerViolation) -> Bool {
        guard phase == .receiving, chunk.transfer == offer.transfer, end == nil else { return false }
        guard chunk.sequence <= takenIn + UInt64(WireLimits.maxSnapshotWindow) else {
            throw .chunkBeyondWindow(sequence: chunk.sequence, takenIn: takenIn)
        }
        guard chunk.sequence == nextSequence else { return false }
        nextSequence += 1
        acceptedBytes += UInt64(chunk.rawBytes)
        unmeasuredBytes += UInt64(chunk.rawBytes)
        movedAt = now
        return true
    }

    /// Free space was measured: it tells of what was written by then.
    func roomMeasured() {
        unmeasuredBytes = acceptedBytes - rawBytes
    }

    func tookIn(_ sequence: UInt64, rawBytes: UInt64, _ now: UInt64) {
        movedAt = now
        precondition(sequence == takenIn + 1, "chunks are taken in in order")
        takenIn = sequence
        self.rawBytes += rawBytes
    }

    func ended(_ end: SnapshotEnd, _ now: UInt64) {
        guard phase == .receiving, end.transfer == offer.transfer, end.chunks == nextSequence - 1 else { return }
        self.end = end
        movedAt = now
    }

    /// The end, once every chunk before it is taken in.
    var completed: SnapshotEnd? {
        guard phase == .receiving, let end, takenIn == end.chunks else { return nil }
        return end
    }
}
