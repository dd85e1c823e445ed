import Atomics
import Glibc
import Synchronization
import VikWire

/// The newest writes, sorted: a skip list in one fixed reservation of memory, addressed by 32-bit offsets.
///
/// One writer at a time (the apply lane), any number of readers on any thread, which take no lock: a node is written
/// completely before the release-store that links it, and nodes are never changed or moved afterwards. Memory is given
/// back as a whole when the last reader lets go.
///
/// A node at offset o, a multiple of four:
///
///     o - 4 * (level + 1)   next node on that level, 0 = none
///     o                     key length (4), value length (4), internal key, value
///
/// `@unchecked Sendable`: `used`, `random`, `before` and `after` are touched by the one writer only, all else is
/// immutable or atomic.
package final class Memtable: @unchecked Sendable {
    private static let maxHeight = 12
    private static let headerBytes = 8
    /// Room for one put beyond its key and value: header, highest tower, space and trailer, alignment.
    private static let worstOverhead = headerBytes + 4 * maxHeight + 1 + InternalKey.trailerBytes + 4
    private static let head = 4 * maxHeight + 4
    /// Offset of the first node's tower, and so the smallest capacity.
    private static let firstFree = head + headerBytes
    /// Offsets have 32 bits.
    package static let maxCapacity = Int(UInt32.max) & ~7

    private let base: UnsafeMutableRawPointer
    package let capacity: Int
    private var used: Int
    private var random: UInt64 = 0x9e37_79b9_7f4a_7c15
    private let before = UnsafeMutablePointer<UInt32>.allocate(capacity: Memtable.maxHeight)
    private let after = UnsafeMutablePointer<UInt32>.allocate(capacity: Memtable.maxHeight)
    private let publishedBytes = Atomic<Int>(0)
    private let deletes = Atomic<Int>(0)

    package init(capacity: Int) {
        precondition(capacity > Self.firstFree && capacity <= Self.maxCapacity, "the options bound a memtable")
        self.capacity = capacity
        // Not touched before it is written, so the operating system lends pages only as the memtable fills; large ones,
        // for a search goes to and fro in all of it. It is advice: without large pages all is as it was.
        base = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: Int(getpagesize()))
        madvise(base, capacity, MADV_HUGEPAGE)
        used = Self.firstFree
        memset(base, 0, Self.firstFree)
    }

    deinit {
        base.deallocate()
        before.deallocate()
        after.deallocate()
    }

    /// Bytes of memory in use. Any thread.
    package var bytes: Int { publishedBytes.load(ordering: .relaxed) }

    /// Keys whose newest version is a tombstone, which is all that a flush writes of them. Any thread.
    package var tombstones: Int { deletes.load(ordering: .relaxed) }

    /// An upper bound of the room that an entry needs, by the bytes of its payload and its number of operations.
    package static func roomNeeded(payloadBytes: Int, operations: Int) -> Int {
        payloadBytes + operations * worstOverhead
    }

    /// The capacity of a memtable for one entry that needs `room`.
    package static func capacity(forRoom room: Int) -> Int {
        firstFree + room + 1
    }

    package func hasRoom(for room: Int) -> Bool {
        capacity - used > room
    }

    // MARK: Writing

    /// Adds one version. The pair of index and ordinal is new. `value` is nil for a tombstone.
    package func insert(
        _ space: KeySpace, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?, index: LogIndex,
        ordinal: UInt32
    ) {
        let height = randomHeight()
        let node = used + 4 * height
        let keyLength = 1 + key.count + InternalKey.trailerBytes
        let valueLength = value?.count ?? 0
        let end = node + Self.headerBytes + keyLength + valueLength
        precondition(end <= capacity, "the writer asked for room first")
        let target = base + node
        target.storeBytes(of: UInt32(keyLength), as: UInt32.self)
        target.storeBytes(of: UInt32(valueLength), toByteOffset: 4, as: UInt32.self)
        InternalKey.write(
            to: target + Self.headerBytes, space: space, key: key, index: index, ordinal: ordinal,
            kind: value == nil ? .delete : .put)
        if let value, let source = value.baseAddress {
            memcpy(target + Self.headerBytes + keyLength, source, valueLength)
        }
        link(UInt32(node), height: height)
        used = (end + 3) & ~3
        publishedBytes.store(used, ordering: .relaxed)
        // There is one writer.
        let count = deletes.load(ordering: .relaxed)
        guard value == nil || count > 0 else { return }
        let change = (value == nil ? 1 : 0) - (hasDeleteBefore(UInt32(node)) ? 1 : 0)
        if change != 0 { deletes.store(count + change, ordering: .relaxed) }
    }

    /// Whether the next older version of the key of `node`, which follows it, is a tombstone.
    private func hasDeleteBefore(_ node: UInt32) -> Bool {
        let older = next(node, 0)
        guard older != 0, InternalKey.isDelete(key(of: older)) else { return false }
        return InternalKey.compareStems(InternalKey.stem(key(of: older)), InternalKey.stem(key(of: node))) == 0
    }

    private func link(_ node: UInt32, height: Int) {
        let key = self.key(of: node)
        var position = UInt32(Self.head)
        var known: UInt32 = 0
        var level = Self.maxHeight
        while level > 0 {
            level -= 1
            var following = next(position, level)
            // A node that stopped the level above needs no second look.
            while following != 0, following != known, InternalKey.compare(self.key(of: following), key) < 0 {
                position = following
                following = next(position, level)
            }
            known = following
            before[level] = position
            after[level] = following
        }
        for level in 0..<height {
            nextPointer(node, level).initialize(to: UnsafeAtomic<UInt32>.Storage(after[level]))
            UnsafeAtomic<UInt32>(at: nextPointer(before[level], level)).store(node, ordering: .releasing)
        }
    }

    /// 1 with probability 3/4, 2 with 3/16 and so on.
    private func randomHeight() -> Int {
        random ^= random << 13
        random ^= random >> 7
        random ^= random << 17
        return min(1 + random.trailingZeroBitCount / 2, Self.maxHeight)
    }

    // MARK: Reading, any thread

    /// Finds the newest version of the key of `target` within its bound.
    package func find(_ target: borrowing SearchKey) -> Lookup {
        let node = firstNode(notBefore: target.bytes)
        guard node != 0 else { return .absent }
        let key = self.key(of: node)
        guard InternalKey.compareStems(InternalKey.stem(key), InternalKey.stem(target.bytes)) == 0 else {
            return .absent
        }
        if InternalKey.isDelete(key) { return .deleted }
        return .found(StoredValue(bytes: [UInt8](value(of: node)), version: InternalKey.index(key)))
    }

    fileprivate func firstNode(notBefore target: UnsafeRawBufferPointer) -> UInt32 {
        neighbours(of: target).notBefore
    }

    /// The list has no links back: the step to the node before is a search for the key.
    fileprivate func lastNode(before target: UnsafeRawBufferPointer) -> UInt32 {
        let position = neighbours(of: target).before
        return position == UInt32(Self.head) ? 0 : position
    }

    @inline(__always)
    private func neighbours(of target: UnsafeRawBufferPointer) -> (before: UInt32, notBefore: UInt32) {
        var position = UInt32(Self.head)
        var known: UInt32 = 0
        var level = Self.maxHeight
        while level > 0 {
            level -= 1
            var following = next(position, level)
            // A node that stopped the level above needs no second look.
            while following != 0, following != known, InternalKey.compare(key(of: following), target) < 0 {
                position = following
                following = next(position, level)
            }
            known = following
        }
        return (position, known)
    }

    fileprivate func lastNode() -> UInt32 {
        var position = UInt32(Self.head)
        var level = Self.maxHeight
        while level > 0 {
            level -= 1
            while case let following = next(position, level), following != 0 { position = following }
        }
        return position == UInt32(Self.head) ? 0 : position
    }

    @inline(__always)
    fileprivate func next(_ node: UInt32, _ level: Int) -> UInt32 {
        UnsafeAtomic<UInt32>(at: nextPointer(node, level)).load(ordering: .acquiring)
    }

    @inline(__always)
    private func nextPointer(_ node: UInt32, _ level: Int) -> UnsafeMutablePointer<UnsafeAtomic<UInt32>.Storage> {
        (base + Int(node) - 4 * (level + 1)).assumingMemoryBound(to: UnsafeAtomic<UInt32>.Storage.self)
    }

    @inline(__always)
    fileprivate func key(of node: UInt32) -> UnsafeRawBufferPointer {
        let start = base + Int(node)
        return UnsafeRawBufferPointer(start: start + Self.headerBytes, count: Int(start.load(as: UInt32.self)))
    }

    @inline(__always)
    fileprivate func value(of node: UInt32) -> UnsafeRawBufferPointer {
        let start = base + Int(node)
        let keyLength = Int(start.load(as: UInt32.self))
        return UnsafeRawBufferPointer(
            start: start + Self.headerBytes + keyLength, count: Int(start.load(fromByteOffset: 4, as: UInt32.self)))
    }
}

/// Walks a memtable, also while it is written: a version that is added behind the cursor may or may not be seen.
package final class MemtableCursor: Cursor {
    private let memtable: Memtable
    @exclusivity(unchecked) private var node: UInt32 = 0

    package init(_ memtable: Memtable) {
        self.memtable = memtable
    }

    package override func seek(_ target: UnsafeRawBufferPointer) throws(StorageError) {
        move(to: memtable.firstNode(notBefore: target))
    }

    package override func next() throws(StorageError) {
        move(to: memtable.next(node, 0))
    }

    package override func seek(before target: UnsafeRawBufferPointer) throws(StorageError) {
        move(to: memtable.lastNode(before: target))
    }

    package override func seekToLast() throws(StorageError) {
        move(to: memtable.lastNode())
    }

    package override func previous() throws(StorageError) {
        move(to: memtable.lastNode(before: key))
    }

    private func move(to node: UInt32) {
        self.node = node
        isValid = node != 0
        guard isValid else { return }
        key = memtable.key(of: node)
        value = memtable.value(of: node)
    }
}
