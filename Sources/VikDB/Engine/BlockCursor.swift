import Glibc

/// Walks the entries of one data or index block. A plain value that owns the memory in which keys are put together;
/// bound to one thread.
///
/// Entries were checked when the block was read, so no step can fail.
package struct BlockCursor: ~Copyable {
    /// Entries that are kept for the way back; more than a restart interval has in the tables that are written.
    private static let maxEarlier = 32
    private static let leastKeyCapacity = 128

    /// Keeps `bytes` alive. Not touched on the way: counting a reference costs more than a step.
    private var block: Block?
    private var bytes: UnsafeRawPointer
    private var restartCount = 0
    /// Where the entries end.
    private var limit = 0
    private var nextOffset = 0
    /// Allocated when the first key has to be put together; an index block never needs it.
    private var keyStorage: UnsafeMutableRawPointer?
    private var keyCapacity = 0
    /// The entries before the one that ends at `earlierEnd`, back to the one that begins at `earlierStart`.
    private var earlier = EntryStack()
    private var earlierStart = 0
    private var earlierEnd = 0
    package private(set) var isValid = false
    package private(set) var key = UnsafeRawBufferPointer(start: nil, count: 0)
    package private(set) var value = UnsafeRawBufferPointer(start: nil, count: 0)

    package init() {
        // Of no block; a cursor without one has no entry to read there.
        bytes = UnsafeRawPointer(bitPattern: 1)!
    }

    deinit {
        free(keyStorage)
    }

    package mutating func open(_ block: Block) {
        precondition(block.restartCount > 0, "a block's entries are checked before they are read")
        isValid = false
        bytes = block.bytes.baseAddress!
        restartCount = block.restartCount
        limit = block.entriesEnd
        nextOffset = 0
        // No entry ends there: what is kept is of another block.
        earlierEnd = 0
        self.block = block
    }

    package mutating func seekToFirst() {
        nextOffset = 0
        next()
    }

    package mutating func next() {
        guard nextOffset < limit else {
            isValid = false
            return
        }
        read(at: nextOffset, EntryHeader(bytes + nextOffset), sharingWith: key.baseAddress)
    }

    /// Moves to the entry at `offset`. - Parameter previous: begins with the bytes that the key shares, if there are any.
    @inline(__always)
    private mutating func read(at offset: Int, _ header: EntryHeader, sharingWith previous: UnsafeRawPointer?) {
        let unshared = bytes + offset + EntryHeader.encodedBytes
        if header.shared == 0 {
            key = UnsafeRawBufferPointer(start: unshared, count: header.unshared)
        } else {
            if header.keyLength > keyCapacity {
                growKey(to: header.keyLength, keeping: header.shared, of: previous!)
            } else if previous != UnsafeRawPointer(keyStorage) {
                memcpy(keyStorage!, previous!, header.shared)
            }
            memcpy(keyStorage! + header.shared, unshared, header.unshared)
            key = UnsafeRawBufferPointer(start: keyStorage, count: header.keyLength)
        }
        value = UnsafeRawBufferPointer(start: unshared + header.unshared, count: header.valueLength)
        nextOffset = offset + EntryHeader.encodedBytes + header.unshared + header.valueLength
        isValid = true
    }

    private mutating func growKey(to length: Int, keeping shared: Int, of previous: UnsafeRawPointer) {
        let capacity = max(2 * length, Self.leastKeyCapacity)
        // By malloc, which is faster than what aligns memory.
        let larger = malloc(capacity)!
        memcpy(larger, previous, shared)
        free(keyStorage)
        keyStorage = larger
        keyCapacity = capacity
    }
}

// MARK: - Searching

extension BlockCursor {
    /// Moves to the first entry whose key is not less than `target`. That is not the cursor's own ``key``, in whose
    /// memory others may be put together on the way.
    package mutating func seek(_ target: UnsafeRawBufferPointer) {
        precondition(restartCount > 0, "a cursor is opened before it moves")
        var low = 0
        var high = restartCount - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if InternalKey.compare(restartKey(middle), target) < 0 {
                low = middle
            } else {
                high = middle - 1
            }
        }
        scan(from: block!.restartOffset(low), for: target)
    }

    /// Moves to the last entry whose key is less than `target`.
    package mutating func seek(before target: UnsafeRawBufferPointer) {
        seek(target)
        if isValid { previous() } else { seekToLast() }
    }

    private func restartKey(_ restart: Int) -> UnsafeRawBufferPointer {
        let entry = bytes + block!.restartOffset(restart)
        return UnsafeRawBufferPointer(start: entry + EntryHeader.encodedBytes, count: EntryHeader(entry).unshared)
    }

    /// Moves to the first entry from `start` on, which is a restart, whose key is not less than `target`.
    ///
    /// Keys are not put together for that. `matched` is how many bytes of the stem of `target` the entry before has too;
    /// it sorts before `target`, so after these it either ends or has a smaller byte. If an entry shares more than
    /// these bytes with it, it has that smaller byte and is less as well. Otherwise what it shares is known to be that of
    /// `target`, and only the rest is compared.
    private mutating func scan(from start: Int, for target: UnsafeRawBufferPointer) {
        let targetStem = target.count - InternalKey.trailerBytes
        let targetBytes = target.baseAddress!
        var offset = start
        var matched = 0
        // The stem of the entry before, at `before`, ends with the bytes that match.
        var isPrefix = false
        var before = start
        while offset < limit {
            let header = EntryHeader(bytes + offset)
            let unshared = bytes + offset + EntryHeader.encodedBytes
            if header.shared > matched {
                // It may share bytes of the trailer, which are none of the stem of `target`.
                if isPrefix { return scanSlowly(from: before, for: target) }
            } else {
                let stem = header.unshared - InternalKey.trailerBytes
                let rest = targetStem - header.shared
                // No stem ends within what a key shares with a smaller one, in tables that are in order.
                if stem < 0 { return scanSlowly(from: offset, for: target) }
                let common = InternalKey.sharedBytes(unshared, targetBytes + header.shared, atMost: min(stem, rest))
                let isLess: Bool
                if common < stem && common < rest {
                    isLess = unshared.load(fromByteOffset: common, as: UInt8.self)
                        < targetBytes.load(fromByteOffset: header.shared + common, as: UInt8.self)
                } else if stem != rest {
                    isLess = stem < rest
                } else {
                    isLess = InternalKey.compareTrailers(unshared + stem, targetBytes + targetStem) < 0
                }
                guard isLess else { return read(at: offset, header, sharingWith: targetBytes) }
                matched = header.shared + common
                isPrefix = common == stem
                before = offset
            }
            offset += EntryHeader.encodedBytes + header.unshared + header.valueLength
        }
        nextOffset = limit
        isValid = false
    }

    /// The same with whole keys, from an entry at `start` on that shares with the one before what `target` has too.
    private mutating func scanSlowly(from start: Int, for target: UnsafeRawBufferPointer) {
        read(at: start, EntryHeader(bytes + start), sharingWith: target.baseAddress!)
        while isValid && InternalKey.compare(key, target) < 0 { next() }
    }
}

// MARK: - The way back

extension BlockCursor {
    package mutating func seekToLast() {
        collect(endingAt: limit)
    }

    /// Moves to the entry before. A key is put together from those since the restart: on the way back they are kept, so
    /// that each restart interval is read once.
    package mutating func previous() {
        if earlierEnd != nextOffset { collect(endingAt: nextOffset) }
        if let entry = earlier.pop() {
            key = entry.key
            value = entry.value
            nextOffset = entry.end
            earlierEnd = entry.end
        } else if earlierStart > 0 {
            collect(endingAt: earlierStart)
        } else {
            isValid = false
        }
    }

    /// Moves to the entry that ends at `end`, and keeps those before it, back to its restart.
    private mutating func collect(endingAt end: Int) {
        guard let block else { preconditionFailure("a cursor is opened before it moves") }
        var low = 0
        var high = restartCount - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if block.restartOffset(middle) < end { low = middle } else { high = middle - 1 }
        }
        earlier.removeAll()
        earlierStart = block.restartOffset(low)
        nextOffset = earlierStart
        while true {
            let start = nextOffset
            next()
            guard nextOffset < end else { break }
            if earlier.count == Self.maxEarlier {
                earlier.removeAll()
                earlierStart = start
            }
            earlier.push(key, value, end: nextOffset)
        }
        earlierEnd = end
    }
}
