import Synchronization

/// Verified blocks by table and offset, least recently used first out, within a cap of bytes. Any thread.
///
/// Sharded, each shard behind a mutex that is held for a lookup or an insertion only. A block that leaves the cache
/// lives on while a reader holds it. File numbers are never used again, so nothing in here can be stale.
final class BlockCache: Sendable {
    struct Key: Hashable {
        let file: UInt64
        let offset: UInt64
    }

    private static let shardCount = 16

    private final class Shard: Sendable {
        let state: Mutex<LRU>

        init(capacity: Int) {
            state = Mutex(LRU(capacity: capacity))
        }
    }

    private let shards: [Shard]

    init(bytes: Int) {
        shards = (0..<Self.shardCount).map { _ in Shard(capacity: bytes / Self.shardCount) }
    }

    func block(_ key: Key) -> Block? {
        shard(key).state.withLock { $0.block(key) }
    }

    func insert(_ block: Block, for key: Key) {
        shard(key).state.withLock { $0.insert(block, for: key) }
    }

    var bytes: Int {
        shards.reduce(0) { sum, shard in sum + shard.state.withLock { $0.bytes } }
    }

    private func shard(_ key: Key) -> Shard {
        let mixed = (key.offset ^ key.file << 40) &* 0x9e37_79b9_7f4a_7c15
        return shards[Int(mixed >> 60)]
    }
}

/// The order of use of one shard: a doubly linked list in an array, found by a dictionary. A plain value.
private struct LRU {
    private struct Slot {
        var key: BlockCache.Key
        var block: Block?
        var newer: Int
        var older: Int
    }

    /// What a block costs beyond its bytes: object, slot and dictionary entry.
    private static let overhead = 160

    private let capacity: Int
    private(set) var bytes = 0
    private var slots: [Slot]
    private var free: [Int] = []
    private var positions: [BlockCache.Key: Int] = [:]

    init(capacity: Int) {
        self.capacity = capacity
        // Slot 0 closes the ring: its `older` is the newest block, its `newer` the oldest.
        slots = [Slot(key: BlockCache.Key(file: 0, offset: 0), block: nil, newer: 0, older: 0)]
    }

    mutating func block(_ key: BlockCache.Key) -> Block? {
        guard let position = positions[key] else { return nil }
        unlink(position)
        linkAsNewest(position)
        return slots[position].block
    }

    mutating func insert(_ block: Block, for key: BlockCache.Key) {
        let cost = block.bytes.count + Self.overhead
        guard cost <= capacity, positions[key] == nil else { return }
        while bytes + cost > capacity { dropOldest() }
        let position: Int
        let slot = Slot(key: key, block: block, newer: 0, older: 0)
        if let reused = free.popLast() {
            position = reused
            slots[position] = slot
        } else {
            position = slots.count
            slots.append(slot)
        }
        positions[key] = position
        linkAsNewest(position)
        bytes += cost
    }

    private mutating func dropOldest() {
        let position = slots[0].newer
        precondition(position != 0, "bytes are counted for blocks that are here")
        unlink(position)
        positions[slots[position].key] = nil
        bytes -= slots[position].block!.bytes.count + Self.overhead
        slots[position].block = nil
        free.append(position)
    }

    private mutating func unlink(_ position: Int) {
        let (newer, older) = (slots[position].newer, slots[position].older)
        slots[newer].older = older
        slots[older].newer = newer
    }

    private mutating func linkAsNewest(_ position: Int) {
        let newest = slots[0].older
        slots[position].older = newest
        slots[position].newer = 0
        slots[newest].newer = position
        slots[0].older = position
    }
}
