import Synchronization

/// Verified data blocks by table and offset, within a cap of bytes. Any thread.
///
/// What was not used since the hand of the clock last passed by goes first ("second chance"), so that a hit writes one
/// flag and no list. Sharded, each shard behind a mutex that is held for a lookup or an insertion only. A block that
/// leaves the cache lives on while a reader holds it. File numbers are never used again, so nothing in here can be
/// stale.
package final class BlockCache: Sendable {
    package struct Key: Equatable {
        let file: UInt64
        package let offset: UInt64

        package init(file: UInt64, offset: UInt64) {
            self.file = file
            self.offset = offset
        }

        /// The high bits choose the shard, the low ones the bucket in it.
        @inline(__always)
        var hash: UInt64 { BloomFilter.fold(file &* 0x9e37_79b9_7f4a_7c15 ^ offset) }
    }

    private static let shardBits: UInt64 = 4

    private final class Shard: Sendable {
        let state: Mutex<ClockCache>

        init(capacity: Int) {
            state = Mutex(ClockCache(capacity: capacity))
        }
    }

    private let shards: [Shard]

    package init(bytes: Int) {
        let count = 1 << Self.shardBits
        shards = (0..<count).map { _ in Shard(capacity: bytes / count) }
    }

    package func block(_ key: Key) -> Block? {
        let hash = key.hash
        return shard(hash).state.withLock { $0.block(key, hash) }
    }

    package func insert(_ block: Block, for key: Key) {
        let hash = key.hash
        shard(hash).state.withLock { $0.insert(block, for: key, hash) }
    }

    package var usage: BlockCacheUsage {
        shards.reduce(into: BlockCacheUsage()) { sum, shard in
            shard.state.withLock {
                sum.bytes += $0.bytes
                sum.hits += $0.hits
                sum.misses += $0.misses
            }
        }
    }

    private func shard(_ hash: UInt64) -> Shard {
        shards[Int(hash >> (64 - Self.shardBits))]
    }
}

/// A plain value.
package struct BlockCacheUsage: Equatable, Sendable {
    package var bytes = 0
    /// Data blocks that were asked for since the start, and there; or not.
    package var hits: UInt64 = 0
    package var misses: UInt64 = 0

    package init() {}
}

/// One shard: slots around which the hand moves, found through buckets of chained slots. A plain value.
///
/// A table of its own rather than a dictionary, whose keyed hash took a tenth of the time of a read.
private struct ClockCache {
    private struct Slot {
        var key: BlockCache.Key
        var block: Block?
        /// What the block counts for, 0 if there is none: the hand need not look at blocks that it passes by.
        var cost: Int
        /// The next slot of the bucket.
        var next: Int32
        var wasUsed: Bool
    }

    /// What a block costs beyond its bytes: object, slot and bucket.
    private static let overhead = 160
    private static let none: Int32 = -1
    private static let leastBuckets = 64

    private let capacity: Int
    private(set) var bytes = 0
    private(set) var hits: UInt64 = 0
    private(set) var misses: UInt64 = 0
    private var slots: [Slot] = []
    private var free: [Int32] = []
    /// The first slot of each; a power of two of them, at least as many as slots.
    private var buckets = [Int32](repeating: Self.none, count: Self.leastBuckets)
    private var hand = 0

    init(capacity: Int) {
        self.capacity = capacity
    }

    mutating func block(_ key: BlockCache.Key, _ hash: UInt64) -> Block? {
        guard let position = position(of: key, hash) else {
            misses += 1
            return nil
        }
        hits += 1
        slots[position].wasUsed = true
        return slots[position].block
    }

    mutating func insert(_ block: Block, for key: BlockCache.Key, _ hash: UInt64) {
        let cost = block.bytes.count + Self.overhead
        guard cost <= capacity, position(of: key, hash) == nil else { return }
        while bytes + cost > capacity { dropNext() }
        bytes += cost
        let slot = Slot(key: key, block: block, cost: cost, next: Self.none, wasUsed: false)
        let position: Int32
        if let reused = free.popLast() {
            position = reused
            slots[Int(position)] = slot
        } else {
            position = Int32(slots.count)
            slots.append(slot)
            guard slots.count <= buckets.count else { return rehash() }
        }
        link(position, bucket(hash))
    }

    private func position(of key: BlockCache.Key, _ hash: UInt64) -> Int? {
        var position = buckets[bucket(hash)]
        while position != Self.none {
            if slots[Int(position)].key == key { return Int(position) }
            position = slots[Int(position)].next
        }
        return nil
    }

    private mutating func dropNext() {
        while true {
            if hand >= slots.count { hand = 0 }
            defer { hand += 1 }
            guard slots[hand].cost > 0 else { continue }
            guard !slots[hand].wasUsed else {
                slots[hand].wasUsed = false
                continue
            }
            unlink(Int32(hand))
            bytes -= slots[hand].cost
            slots[hand].cost = 0
            slots[hand].block = nil
            free.append(Int32(hand))
            return
        }
    }

    private func bucket(_ hash: UInt64) -> Int { Int(hash & UInt64(buckets.count - 1)) }

    private mutating func link(_ position: Int32, _ bucket: Int) {
        slots[Int(position)].next = buckets[bucket]
        buckets[bucket] = position
    }

    private mutating func unlink(_ position: Int32) {
        let bucket = bucket(slots[Int(position)].key.hash)
        let next = slots[Int(position)].next
        guard buckets[bucket] != position else {
            buckets[bucket] = next
            return
        }
        var before = buckets[bucket]
        while slots[Int(before)].next != position { before = slots[Int(before)].next }
        slots[Int(before)].next = next
    }

    /// Spreads the slots over twice the buckets. All are in use, or a free one had been taken.
    private mutating func rehash() {
        buckets = [Int32](repeating: Self.none, count: 2 * buckets.count)
        for position in slots.indices { link(Int32(position), bucket(slots[position].key.hash)) }
    }
}
