import NIOCore

/// Announces the transfer of one consistent state to a follower whose next entry is no longer in the leader's log (Raft
/// §7). Sent again after a broken connection; the answer says where to go on.
package struct SnapshotOffer: Equatable, Sendable {
    package var term: Term
    /// Chosen at random for each transfer.
    package var transfer: UInt64
    /// The entry that the state ends with: everything up to it is in the snapshot.
    package var index: LogIndex
    package var indexTerm: Term
    /// About how many bytes of records the state has, for progress alone.
    package var estimatedBytes: UInt64

    package init(term: Term, transfer: UInt64, index: LogIndex, indexTerm: Term, estimatedBytes: UInt64) {
        self.term = term
        self.transfer = transfer
        self.index = index
        self.indexTerm = indexTerm
        self.estimatedBytes = estimatedBytes
    }
}

/// How the records of a chunk are kept.
package enum ChunkEncoding: UInt8, Sendable, CaseIterable {
    /// As they are: they did not get smaller.
    case stored = 0
    /// One zlib stream (RFC 1950) of its own.
    case zlib = 1
}

/// Some of the records of a snapshot; `proto-spec.md` has their layout. Chunks are numbered from 1.
package struct SnapshotChunk: Equatable, Sendable {
    package var term: Term
    package var transfer: UInt64
    package var sequence: UInt64
    package var encoding: ChunkEncoding
    /// Size and CRC-32 of the records.
    package var rawBytes: UInt32
    package var rawChecksum: UInt32
    /// The records, encoded.
    package var bytes: ByteBuffer

    package init(
        term: Term, transfer: UInt64, sequence: UInt64, encoding: ChunkEncoding, rawBytes: UInt32, rawChecksum: UInt32,
        bytes: ByteBuffer
    ) {
        self.term = term
        self.transfer = transfer
        self.sequence = sequence
        self.encoding = encoding
        self.rawBytes = rawBytes
        self.rawChecksum = rawChecksum
        self.bytes = bytes
    }
}

/// Ends a snapshot, and vouches for all of it.
package struct SnapshotEnd: Equatable, Sendable {
    package var term: Term
    package var transfer: UInt64
    package var chunks: UInt64
    package var records: UInt64
    package var rawBytes: UInt64
    /// CRC-32 of all records of all chunks, one after another.
    package var checksum: UInt32

    package init(term: Term, transfer: UInt64, chunks: UInt64, records: UInt64, rawBytes: UInt64, checksum: UInt32) {
        self.term = term
        self.transfer = transfer
        self.chunks = chunks
        self.records = records
        self.rawBytes = rawBytes
        self.checksum = checksum
    }
}

/// The receiver's answer to an offer, to chunks and to the end.
package struct SnapshotReply: Equatable, Sendable {
    package enum Outcome: Equatable, Sendable {
        /// All chunks before this one are taken in; it comes next.
        case wants(sequence: UInt64)
        /// The receiver's log and state hold everything up to this index, durably.
        case installed(LogIndex)
        /// The receiver gave the transfer up; it may be offered anew.
        case refused
    }

    package var term: Term
    package var transfer: UInt64
    package var outcome: Outcome

    package init(term: Term, transfer: UInt64, outcome: Outcome) {
        self.term = term
        self.transfer = transfer
        self.outcome = outcome
    }
}

/// The leader hands over: the receiver stands for election at once (dissertation §3.10).
package struct TimeoutNow: Equatable, Sendable {
    package var term: Term

    package init(term: Term) {
        self.term = term
    }
}
