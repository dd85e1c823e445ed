import Glibc

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
/// `@unchecked Sendable`: the bytes are never written after init.
package final class Block: @unchecked Sendable {
    let bytes: UnsafeRawBufferPointer
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
}

/// Walks the entries of one data or index block:
///
///     entries, each: shared (2), unshared (2), value length (4), the unshared end of the key, value
///     restarts: offsets of the entries with shared = 0 that a search may begin at (4 each), and their number (4)
///
/// A plain value that owns the memory in which keys are put together; bound to one thread.
package struct BlockCursor: ~Copyable {
    private static let entryHeaderBytes = 8
    /// Entries that are kept for the way back; more than a restart interval has in the tables that are written.
    private static let maxEarlier = 32

    /// Keeps `bytes` alive and names the place in errors. Not touched on the way: counting a reference costs more than
    /// the step to the next entry.
    private var block: Block?
    private var bytes = UnsafeRawBufferPointer(start: nil, count: 0)
    private var restartCount = 0
    /// Where the entries end and the restarts begin.
    private var limit = 0
    private var nextOffset = 0
    /// Allocated when the first key has to be put together; an index block never needs it.
    private var keyStorage: UnsafeMutableRawPointer?
    /// The entries before the one that ends at `earlierEnd`, back to the one that begins at `earlierStart`.
    private var earlier = EntryStack()
    private var earlierStart = 0
    private var earlierEnd = 0
    package private(set) var isValid = false
    package private(set) var key = UnsafeRawBufferPointer(start: nil, count: 0)
    package private(set) var value = UnsafeRawBufferPointer(start: nil, count: 0)

    package init() {}

    deinit {
        keyStorage?.deallocate()
    }

    package mutating func open(_ block: Block) throws(StorageError) {
        isValid = false
        let bytes = block.bytes
        guard bytes.count >= 8 else { throw block.damaged("a block too short for its restarts") }
        let count = Int(bytes.loadUnaligned(fromByteOffset: bytes.count - 4, as: UInt32.self).bigEndian)
        guard count >= 1, count <= (bytes.count - 4) / 4 else { throw block.damaged("impossible number of restarts") }
        self.block = block
        self.bytes = bytes
        restartCount = count
        limit = bytes.count - 4 - 4 * count
        nextOffset = 0
        // No entry ends there: what is kept is of another block.
        earlierEnd = 0
    }

    mutating func seekToFirst() throws(StorageError) {
        isValid = false
        nextOffset = 0
        try next()
    }

    package mutating func seek(_ target: UnsafeRawBufferPointer) throws(StorageError) {
        precondition(restartCount > 0, "a cursor is opened before it moves")
        var low = 0
        var high = restartCount - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if InternalKey.compare(try restartKey(middle), target) < 0 {
                low = middle
            } else {
                high = middle - 1
            }
        }
        isValid = false
        nextOffset = try restartOffset(low)
        repeat {
            try next()
        } while isValid && InternalKey.compare(key, target) < 0
    }

    package mutating func next() throws(StorageError) {
        guard nextOffset < limit else {
            isValid = false
            return
        }
        guard limit - nextOffset >= Self.entryHeaderBytes else { throw damaged("an entry is cut off") }
        let shared = Int(bytes.loadUnaligned(fromByteOffset: nextOffset, as: UInt16.self).bigEndian)
        let unshared = Int(bytes.loadUnaligned(fromByteOffset: nextOffset + 2, as: UInt16.self).bigEndian)
        let valueLength = Int(bytes.loadUnaligned(fromByteOffset: nextOffset + 4, as: UInt32.self).bigEndian)
        let keyStart = nextOffset + Self.entryHeaderBytes
        let keyLength = shared + unshared
        guard limit - keyStart >= unshared + valueLength, keyLength >= InternalKey.minBytes,
            keyLength <= InternalKey.maxBytes, shared == 0 || (isValid && shared <= key.count)
        else { throw damaged("impossible lengths in an entry") }
        let fresh = bytes.baseAddress! + keyStart
        if shared == 0 {
            // Keys that share something with this one share its first byte.
            guard KeySpace(rawValue: fresh.load(as: UInt8.self)) != nil else {
                throw damaged("a key of the unknown space \(fresh.load(as: UInt8.self))")
            }
            key = UnsafeRawBufferPointer(start: fresh, count: unshared)
        } else {
            let storage = keyStorage ?? .allocate(byteCount: InternalKey.maxBytes, alignment: 8)
            keyStorage = storage
            if key.baseAddress! != UnsafeRawPointer(storage) { memcpy(storage, key.baseAddress!, shared) }
            memcpy(storage + shared, fresh, unshared)
            key = UnsafeRawBufferPointer(start: storage, count: keyLength)
        }
        value = UnsafeRawBufferPointer(start: fresh + unshared, count: valueLength)
        nextOffset = keyStart + unshared + valueLength
        isValid = true
    }

    /// Moves to the last entry whose key is less than `target`.
    package mutating func seek(before target: UnsafeRawBufferPointer) throws(StorageError) {
        try seek(target)
        if isValid { try previous() } else { try seekToLast() }
    }

    package mutating func seekToLast() throws(StorageError) {
        try collect(endingAt: limit)
    }

    /// Moves to the entry before. A key is put together from those since the restart: on the way back they are kept, so
    /// that each restart interval is read once.
    package mutating func previous() throws(StorageError) {
        if earlierEnd != nextOffset { try collect(endingAt: nextOffset) }
        if let entry = earlier.pop() {
            key = entry.key
            value = entry.value
            nextOffset = entry.end
            earlierEnd = entry.end
        } else if earlierStart > 0 {
            try collect(endingAt: earlierStart)
        } else {
            isValid = false
        }
    }

    /// Moves to the entry that ends at `end`, and keeps those before it, back to its restart.
    private mutating func collect(endingAt end: Int) throws(StorageError) {
        precondition(restartCount > 0, "a cursor is opened before it moves")
        var low = 0
        var high = restartCount - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if try restartOffset(middle) < end { low = middle } else { high = middle - 1 }
        }
        earlier.removeAll()
        earlierStart = try restartOffset(low)
        guard earlierStart < end else { throw damaged("entries before the first restart") }
        nextOffset = earlierStart
        isValid = false
        while true {
            let start = nextOffset
            try next()
            guard nextOffset < end else { break }
            if earlier.count == Self.maxEarlier {
                earlier.removeAll()
                earlierStart = start
            }
            earlier.push(key, value, end: nextOffset)
        }
        guard nextOffset == end else { throw damaged("a restart in the middle of an entry") }
        earlierEnd = end
    }

    private func restartOffset(_ restart: Int) throws(StorageError) -> Int {
        let offset = Int(bytes.loadUnaligned(fromByteOffset: limit + 4 * restart, as: UInt32.self).bigEndian)
        guard offset < limit else { throw damaged("a restart outside the entries") }
        return offset
    }

    private func restartKey(_ restart: Int) throws(StorageError) -> UnsafeRawBufferPointer {
        let offset = try restartOffset(restart)
        guard limit - offset >= Self.entryHeaderBytes else { throw damaged("an entry is cut off") }
        let shared = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
        let length = Int(bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self).bigEndian)
        let start = offset + Self.entryHeaderBytes
        guard shared == 0, length >= InternalKey.minBytes, limit - start >= length else {
            throw damaged("a restart without a whole key")
        }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<start + length])
    }

    private func damaged(_ reason: String) -> StorageError {
        guard let block else { preconditionFailure("only an open block can be damaged") }
        return block.damaged(reason)
    }
}
