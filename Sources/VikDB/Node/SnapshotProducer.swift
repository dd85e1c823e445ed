import NIOCore
import Synchronization
import VikWire

/// Reads the chunks of one snapshot, and encodes them: two stages, each one job at a time, so that the next chunk is read
/// while one is compressed.
package final class SnapshotProducer: Sendable {
    package enum Product: Sendable {
        case chunk(SnapshotChunk)
        case end(SnapshotEnd)
    }

    private struct Encoder: ~Copyable {
        var compressor = ChunkCompressor()
        var trials = CompressionTrials()
        var end: SnapshotEnd
    }

    // Never contended: each stage has one job at a time.
    private let reader: Mutex<SnapshotReader>
    private let encoder: Mutex<Encoder>
    private let chunkBytes: Int

    init(_ reader: SnapshotReader, term: Term, transfer: UInt64, chunkBytes: Int) {
        self.reader = Mutex(reader)
        self.chunkBytes = chunkBytes
        let end = SnapshotEnd(term: term, transfer: transfer, chunks: 0, records: 0, rawBytes: 0, checksum: 0)
        encoder = Mutex(Encoder(end: end))
    }

    /// The next records; nil after the last. A job of the read lane.
    func read() throws(StorageError) -> ByteBuffer? {
        try reader.withLock { reader throws(StorageError) in try reader.next(targetBytes: chunkBytes) }
    }

    /// Makes a chunk of what was read, or the end of nil. A job of the snapshot lane.
    func encode(_ raw: ByteBuffer?) -> Product {
        encoder.withLock { encoder in
            guard let raw else {
                encoder.end.records = reader.withLock(\.records)
                return .end(encoder.end)
            }
            let checksum = Checksum.crc32(raw)
            encoder.end.checksum = Checksum.crc32Combine(
                encoder.end.checksum, checksum, secondBytes: raw.readableBytes)
            encoder.end.chunks += 1
            encoder.end.rawBytes += UInt64(raw.readableBytes)
            var compressed: ByteBuffer?
            if encoder.trials.takeTurn() {
                compressed = encoder.compressor.compress(raw)
                encoder.trials.ended(paid: compressed != nil)
            }
            return .chunk(
                SnapshotChunk(
                    term: encoder.end.term, transfer: encoder.end.transfer, sequence: encoder.end.chunks,
                    encoding: compressed == nil ? .stored : .zlib, rawBytes: UInt32(raw.readableBytes),
                    rawChecksum: checksum, bytes: compressed ?? raw))
        }
    }
}

/// Tells which chunks are worth a trial. zlib takes the longest for what it cannot shrink; so after a trial that did not
/// pay some chunks are stored as they are, twice as many each time. One that pays ends this. A plain value.
package struct CompressionTrials {
    private static let maxSkips = 32

    private var skips = 0
    private var skipsLeft = 0

    package init() {}

    /// Whether the next chunk is to be tried.
    package mutating func takeTurn() -> Bool {
        guard skipsLeft > 0 else { return true }
        skipsLeft -= 1
        return false
    }

    package mutating func ended(paid: Bool) {
        skips = paid ? 0 : min(max(1, 2 * skips), Self.maxSkips)
        skipsLeft = skips
    }
}
