import NIOCore
import VikDB
import VikWire

/// What a leader sends of a state: each record in a chunk of its own.
struct SentSnapshot {
    let offer: SnapshotOffer
    let chunks: [SnapshotChunk]
    let end: SnapshotEnd

    init(_ transfer: UInt64, term: Term = 1, index: LogIndex, _ records: [TestRecord]) {
        let parts = records.map { TestRecord.chunk($0) }
        offer = SnapshotOffer(term: term, transfer: transfer, index: index, indexTerm: term, estimatedBytes: 100)
        chunks = parts.enumerated().map { offset, bytes in
            SnapshotChunk(
                term: term, transfer: transfer, sequence: UInt64(offset + 1), encoding: .stored,
                rawBytes: UInt32(bytes.readableBytes), rawChecksum: Checksum.crc32(bytes), bytes: bytes)
        }
        var all = ByteBuffer()
        for part in parts { all.writeImmutableBuffer(part) }
        end = SnapshotEnd(
            term: term, transfer: transfer, chunks: UInt64(parts.count), records: UInt64(parts.count),
            rawBytes: UInt64(all.readableBytes), checksum: Checksum.crc32(all))
    }

    /// The configuration and one value.
    init(_ transfer: UInt64, term: Term = 1, index: LogIndex, value: [UInt8], _ configuration: Configuration) {
        self.init(
            transfer, term: term, index: index,
            [
                TestRecord(
                    space: 0, key: Array("configuration".utf8), index: 1,
                    value: Array(configuration.encoded().readableBytesView)),
                TestRecord(key: Array("key".utf8), index: index, value: value),
            ])
    }
}
