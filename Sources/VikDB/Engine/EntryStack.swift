import Glibc

/// Entries of a block with their whole keys, the last one on top. Owns copies of the keys; values stay in the block.
/// A plain value, bound to one thread.
struct EntryStack: ~Copyable {
    struct Entry {
        var key: UnsafeRawBufferPointer
        var value: UnsafeRawBufferPointer
        /// Offset in the block at which the entry ends.
        var end: Int
    }

    private struct Place {
        var keyOffset: Int
        var keyCount: Int
        var value: UnsafeRawBufferPointer
        var end: Int
    }

    private var places: [Place] = []
    private var keys: UnsafeMutableRawPointer?
    private var capacity = 0
    private var used = 0

    deinit {
        keys?.deallocate()
    }

    var count: Int { places.count }

    mutating func push(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, end: Int) {
        if used + key.count > capacity { grow(toHold: used + key.count) }
        memcpy(keys! + used, key.baseAddress!, key.count)
        places.append(Place(keyOffset: used, keyCount: key.count, value: value, end: end))
        used += key.count
    }

    /// Takes the top. Its key stays good until the next ``push(_:_:end:)``.
    mutating func pop() -> Entry? {
        guard let place = places.popLast() else { return nil }
        used = place.keyOffset
        return Entry(
            key: UnsafeRawBufferPointer(start: keys! + place.keyOffset, count: place.keyCount), value: place.value,
            end: place.end)
    }

    mutating func removeAll() {
        places.removeAll(keepingCapacity: true)
        used = 0
    }

    private mutating func grow(toHold count: Int) {
        let larger = UnsafeMutableRawPointer.allocate(byteCount: max(2 * count, 1_024), alignment: 8)
        if let keys {
            memcpy(larger, keys, used)
            keys.deallocate()
        }
        keys = larger
        capacity = max(2 * count, 1_024)
    }
}
