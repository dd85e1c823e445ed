/// What a block of a table holds; covered by its checksum, so that a block of one kind never passes for another.
enum BlockKind: UInt8 {
    case data = 1
    case index = 2
    case filter = 3
    case properties = 4
}

/// Where a block lies in its table. `length` is that of the contents, without the trailer.
struct BlockHandle: Equatable {
    static let encodedBytes = 12

    var offset: UInt64
    var length: UInt32
}

/// The contents of one block, read and verified. Shared by the cache and by readers on any thread.
///
/// A data or index block holds entries:
///
///     entries, each: shared (2), unshared (2), value length (4), the unshared end of the key, value
///     restarts: offsets of the entries with shared = 0 that a search may begin at (4 each), and their number (4)
///
/// `@unchecked Sendable`: the bytes are never written after init, the rest not after ``checkEntries()``, which whoever
/// reads the block calls before others see it.
package final class Block: @unchecked Sendable {
    let bytes: UnsafeRawBufferPointer
    /// Where the entries end and the restarts begin, and how many restarts there are; 0 until the entries are checked.
    private(set) var entriesEnd = 0
    private(set) var restartCount = 0
    /// Where it was read, for the error that names it.
    package let path: String
    package let offset: UInt64

    /// Takes over `bytes`, which were allocated by the caller; `count` of them are contents.
    package init(adopting bytes: UnsafeMutableRawPointer, count: Int, path: String, offset: UInt64) {
        self.bytes = UnsafeRawBufferPointer(start: bytes, count: count)
        self.path = path
        self.offset = offset
    }

    deinit {
        bytes.deallocate()
    }

    func damaged(_ reason: String) -> StorageError {
        .corrupt(path: path, offset: offset, reason: reason)
    }

    /// Checks what the checksum cannot, that a writer has written entries: so that no step of a cursor has to. Their order
    /// is not looked at.
    package func checkEntries() throws(StorageError) {
        guard bytes.count >= 8 else { throw damaged("a block too short for its restarts") }
        let count = Int(bytes.loadUnaligned(fromByteOffset: bytes.count - 4, as: UInt32.self).bigEndian)
        guard count >= 1, count <= (bytes.count - 4) / 4 else { throw damaged("impossible number of restarts") }
        let end = bytes.count - 4 - 4 * count
        var offset = 0
        var restart = 0
        var lastKeyLength = 0
        while offset < end {
            guard end - offset >= EntryHeader.encodedBytes else { throw damaged("an entry is cut off") }
            let header = EntryHeader(bytes.baseAddress! + offset)
            let keyStart = offset + EntryHeader.encodedBytes
            guard end - keyStart >= header.unshared + header.valueLength, header.keyLength >= InternalKey.minBytes,
                header.keyLength <= InternalKey.maxBytes, header.shared <= lastKeyLength
            else { throw damaged("impossible lengths in an entry") }
            if restart < count, restartOffset(restart, entriesEnd: end) == offset {
                guard header.shared == 0 else { throw damaged("a restart without a whole key") }
                restart += 1
            }
            // Keys that share something with this one share its first byte.
            if header.shared == 0, KeySpace(rawValue: bytes[keyStart]) == nil {
                throw damaged("a key of the unknown space \(bytes[keyStart])")
            }
            lastKeyLength = header.keyLength
            offset = keyStart + header.unshared + header.valueLength
        }
        guard restart == count, restartOffset(0, entriesEnd: end) == 0 else {
            throw damaged("a restart where no entry begins")
        }
        entriesEnd = end
        restartCount = count
    }

    /// Offset of the entry of a restart.
    @inline(__always)
    func restartOffset(_ restart: Int) -> Int {
        restartOffset(restart, entriesEnd: entriesEnd)
    }

    @inline(__always)
    private func restartOffset(_ restart: Int, entriesEnd: Int) -> Int {
        Int(bytes.loadUnaligned(fromByteOffset: entriesEnd + 4 * restart, as: UInt32.self).bigEndian)
    }
}

/// The lengths before each entry. A plain value.
struct EntryHeader {
    static let encodedBytes = 8

    /// Bytes of the key that are those of the key before; bytes that follow here; bytes of the value.
    let shared: Int
    let unshared: Int
    let valueLength: Int

    @inline(__always)
    init(shared: Int, unshared: Int, valueLength: Int) {
        self.shared = shared
        self.unshared = unshared
        self.valueLength = valueLength
    }

    @inline(__always)
    func write(to target: UnsafeMutableRawPointer) {
        let word = UInt64(UInt16(shared)) << 48 | UInt64(UInt16(unshared)) << 32 | UInt64(UInt32(valueLength))
        target.storeBytes(of: word.bigEndian, as: UInt64.self)
    }

    @inline(__always)
    init(_ bytes: UnsafeRawPointer) {
        let word = bytes.loadUnaligned(as: UInt64.self).bigEndian
        shared = Int(word >> 48)
        unshared = Int(word >> 32 & 0xffff)
        valueLength = Int(word & 0xffff_ffff)
    }

    @inline(__always)
    var keyLength: Int { shared + unshared }
}
