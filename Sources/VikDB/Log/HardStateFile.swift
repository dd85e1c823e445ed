import NIOCore
import VikWire

/// The file that keeps the ``HardState``; owns it, on the log lane.
///
/// Saves alternate between two slots, so that the state before stays whole until the next one is. Each slot holds two
/// copies in sectors of their own: a torn save spoils at most one of them, and so does a flipped bit. A slot without a
/// whole copy is therefore corrupt, never mistaken for a torn save: falling back to an older vote would be unsafe.
struct HardStateFile: Sendable {
    static let fileName = "hard-state"
    static let magic: UInt64 = 0x56_69_6b_44_42_68_73_74  // "VikDBhst"
    static let version: UInt32 = 1
    private static let copyBytes = 64
    /// Distance of two copies: the largest sector of a disk.
    private static let copyDistance = 4096
    private static let fileBytes = 4 * copyDistance

    /// One copy of a save. A plain value.
    struct Copy {
        /// Counts the saves.
        var sequence: UInt64
        var state: HardState
        /// A place that the log was durable up to when the state was saved: a log that ends before it has lost bytes.
        var logDurable: LogPosition
    }

    private(set) var current: Copy
    private let file: any File

    /// Creates the file with the initial state. It gets its name when it is whole.
    init(creatingIn directory: String, _ fileSystem: any FileSystem) throws(StorageError) {
        let path = directory + "/" + Self.fileName
        let temporary = path + ".tmp"
        do {
            let file = try fileSystem.open(temporary, .create)
            try file.allocate(UInt64(Self.fileBytes))
            for sequence in UInt64(0)...1 {
                try Self.write(Copy(sequence: sequence, state: HardState(), logDurable: .start), to: file)
            }
            try file.sync()
        }
        try fileSystem.rename(temporary, to: path)
        try fileSystem.syncDirectory(directory)
        try self.init(openingIn: directory, fileSystem)
    }

    init(openingIn directory: String, _ fileSystem: any FileSystem) throws(StorageError) {
        file = try fileSystem.open(directory + "/" + Self.fileName, .readWrite)
        current = try Self.newest(of: try Self.copies(in: file), path: file.path)
    }

    /// Durable when it returns.
    mutating func save(_ state: HardState, logDurable: LogPosition) throws(StorageError) {
        let next = Copy(sequence: current.sequence + 1, state: state, logDurable: logDurable)
        try Self.write(next, to: file)
        try file.sync()
        current = next
    }

    private static func offset(slot: UInt64) -> UInt64 {
        (slot % 2) * 2 * UInt64(copyDistance)
    }

    private static func write(_ copy: Copy, to file: any File) throws(StorageError) {
        var bytes = ByteBuffer()
        bytes.writeMultipleIntegers(
            magic, version, UInt32(0), copy.sequence, copy.state.term, copy.state.vote.rawValue, copy.state.commit,
            copy.logDurable.rawValue, UInt32(0))
        bytes.writeInteger(Checksum.crc32(bytes))
        var slot = bytes
        slot.writeRepeatingByte(0, count: copyDistance - copyBytes)
        slot.writeBuffer(&bytes)
        try file.write(slot, at: offset(slot: copy.sequence))
    }

    /// The four copies in the file's order, two of each slot; nil: one that is not whole, or not of its slot.
    static func copies(in file: any File) throws(StorageError) -> [Copy?] {
        var copies: [Copy?] = []
        for slot in UInt64(0)...1 {
            for number in UInt64(0)...1 {
                copies.append(try copy(in: file, at: offset(slot: slot) + number * UInt64(copyDistance), slot: slot))
            }
        }
        return copies
    }

    static func offset(copy: Int) -> UInt64 { UInt64(copy * copyDistance) }

    /// The copy that counts.
    static func newest(of copies: [Copy?], path: String) throws(StorageError) -> Copy {
        let slots = (
            try newest(ofSlot: 0, copies.prefix(2), path: path), try newest(ofSlot: 1, copies.suffix(2), path: path)
        )
        let (newest, other) = slots.0.sequence > slots.1.sequence ? slots : (slots.1, slots.0)
        // A save is durable before the next one starts.
        guard other.sequence + 1 == newest.sequence else {
            throw .corrupt(
                path: path, offset: offset(slot: other.sequence ^ 1), reason: "save \(newest.sequence - 1) is missing")
        }
        return newest
    }

    private static func newest(
        ofSlot slot: UInt64, _ copies: ArraySlice<Copy?>, path: String
    ) throws(StorageError) -> Copy {
        guard let newest = copies.compactMap(\.self).max(by: { $0.sequence < $1.sequence }) else {
            throw .corrupt(
                path: path, offset: offset(slot: slot), reason: "neither copy of the hard state is whole")
        }
        return newest
    }

    private static func copy(in file: any File, at offset: UInt64, slot: UInt64) throws(StorageError) -> Copy? {
        let bytes = try file.bytes(at: offset, count: copyBytes)
        guard
            let (magic, version, _, sequence, term, vote, commit, logDurable, _, checksum) =
                bytes.getMultipleIntegers(
                    at: 0,
                    as: (UInt64, UInt32, UInt32, UInt64, UInt64, UInt64, UInt64, UInt64, UInt32, UInt32).self),
            magic == Self.magic, checksum == Checksum.crc32(bytes.getSlice(at: 0, length: copyBytes - 4)!)
        else { return nil }
        guard version == Self.version else {
            throw .incompatible(path: file.path, reason: "hard state format \(version) is not known")
        }
        // A copy that was meant for the other slot.
        guard sequence % 2 == slot else { return nil }
        return Copy(
            sequence: sequence, state: HardState(term: term, vote: MemberID(rawValue: vote), commit: commit),
            logDurable: LogPosition(rawValue: logDurable))
    }
}
