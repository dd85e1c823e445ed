/// Limits of the replication protocol and of the entries that travel in it.
///
/// Every length that arrives from a peer or a disk is compared with one of these before anything is allocated.
package enum WireLimits {
    /// Largest key a client may write, in bytes.
    package static let maxKeyBytes = 4_096
    /// Largest value a client may write, in bytes (1 MiB).
    package static let maxValueBytes = 1 << 20
    /// Most operations in one command, i.e. pairs in one batch.
    package static let maxOperationsPerCommand = 1_000
    /// Most bytes of keys and values in one command (8 MiB).
    package static let maxCommandPayloadBytes = 8 << 20
    /// Largest encoded payload of one log entry: a full command and the headers of its operations.
    package static let maxEntryPayloadBytes =
        maxCommandPayloadBytes + maxOperationsPerCommand * Command.operationHeaderBytes + Command.headerBytes
    /// Most entries in one AppendEntries.
    package static let maxEntriesPerAppend = 4_096
    /// Target for the entry bytes in one AppendEntries; one entry that is larger travels alone.
    package static let targetAppendBytes = 1 << 20
    /// Largest body of a frame: one AppendEntries with the largest entry, or with a full target of small ones.
    package static let maxFrameBodyBytes = maxEntryPayloadBytes + Entry.headerBytes + targetAppendBytes + 256
    /// Target for the records of one chunk of a snapshot, in bytes before compression.
    package static let targetSnapshotChunkBytes = 256 << 10
    /// Most bytes of records in one chunk: the target, and the largest record that may reach beyond it.
    package static let maxSnapshotChunkBytes = 2 << 20
    /// Largest body of a JoinReply: the largest configuration.
    package static let maxJoinReplyBodyBytes = 8_192
    /// Largest body of a Hello, in this and every later version.
    package static let maxHelloBodyBytes = 1_024
    /// Highest term that a peer may name: far beyond any real one, and far enough from the end of 64 bits that
    /// counting on from it never overflows.
    package static let maxTerm: Term = 1 << 62
    /// Highest log index that a peer may name, for the same reason.
    package static let maxIndex: LogIndex = 1 << 62
    /// Highest number of a read-index round, for the same reason.
    package static let maxRound: UInt64 = 1 << 62
    /// Chunks of a snapshot that may be on their way: sent, and not taken in yet.
    package static let maxSnapshotWindow = 32
    /// Most chunks of one snapshot, and most bytes of all its records: beyond any disk, and clear of overflow whatever is
    /// computed with them. It has no more records than bytes.
    package static let maxSnapshotChunks: UInt64 = 1 << 48
    package static let maxSnapshotBytes: UInt64 = 1 << 56
    /// Most voting members of a cluster.
    package static let maxMembers = 15
    /// Longest `-node-id`, in UTF-8 bytes.
    package static let maxLabelBytes = 128
    /// Longest host:port, in UTF-8 bytes.
    package static let maxAddressBytes = 300
}
