import Synchronization
import VikWire

/// Which tables are open, within a cap of descriptors and one of bytes: an open table keeps its descriptor, its filter
/// and its index, so that nothing but data is read through the block cache and a search reads one block at most.
///
/// What is opened pushes out what was not used since the hand of the clock last passed by ("second chance"). Whoever
/// reads a table meanwhile keeps it open, so there may be a few more for a while. Any thread.
final class TableCache: Sendable {
    /// The place of one table in here, which its ``Table`` owns.
    final class Slot: Sendable {
        /// Set and cleared under the lock of the ring, read under its own alone.
        fileprivate let reader = Mutex<TableReader?>(nil)
        fileprivate let wasUsed = Atomic<Bool>(false)
    }

    private struct Ring {
        /// Of the open tables, in no order that matters.
        var slots: [Slot] = []
        var hand = 0
        var bytes = 0
    }

    private let maxTables: Int
    private let maxBytes: Int
    private let ring = Mutex(Ring())

    init(maxTables: Int, maxBytes: Int) {
        self.maxTables = maxTables
        self.maxBytes = maxBytes
    }

    /// The open table of `slot`, by `open` if it is not open.
    func reader(
        in slot: Slot, _ open: () throws(StorageError) -> TableReader
    ) throws(StorageError) -> TableReader {
        if let reader = slot.reader.withLock({ $0 }) {
            // Looked at first: a store that changes nothing takes the line from the other cores all the same.
            if !slot.wasUsed.load(ordering: .relaxed) { slot.wasUsed.store(true, ordering: .relaxed) }
            return reader
        }
        return admit(try open(), slot)
    }

    /// Nobody reads the table of `slot` any more.
    func close(_ slot: Slot) {
        let closed = ring.withLock { ring -> TableReader? in
            guard let position = ring.slots.firstIndex(where: { $0 === slot }) else { return nil }
            return Self.remove(position, &ring)
        }
        withExtendedLifetime(closed) {}
    }

    var usage: TableCacheUsage { ring.withLock { TableCacheUsage(tables: $0.slots.count, bytes: $0.bytes) } }

    private func admit(_ opened: TableReader, _ slot: Slot) -> TableReader {
        // Closed when the lock is free again, for that is a system call.
        var closed: [TableReader] = []
        return ring.withLock { ring in
            // Another thread may have opened it meanwhile.
            if let earlier = slot.reader.withLock({ $0 }) { return earlier }
            while !ring.slots.isEmpty, ring.slots.count >= maxTables || ring.bytes + opened.bytes > maxBytes {
                closed.append(Self.removeNext(&ring))
            }
            slot.reader.withLock { $0 = opened }
            ring.slots.append(slot)
            ring.bytes += opened.bytes
            return opened
        }
    }

    private static func removeNext(_ ring: inout Ring) -> TableReader {
        while true {
            if ring.hand >= ring.slots.count { ring.hand = 0 }
            guard ring.slots[ring.hand].wasUsed.exchange(false, ordering: .relaxed) else { break }
            ring.hand += 1
        }
        // What takes its place came last, and is only looked at when the hand has gone round.
        defer { ring.hand += 1 }
        return remove(ring.hand, &ring)
    }

    private static func remove(_ position: Int, _ ring: inout Ring) -> TableReader {
        let slot = ring.slots[position]
        ring.slots[position] = ring.slots[ring.slots.count - 1]
        ring.slots.removeLast()
        let reader = slot.reader.withLock { reader in
            defer { reader = nil }
            return reader!
        }
        ring.bytes -= reader.bytes
        return reader
    }
}

/// A plain value.
package struct TableCacheUsage: Equatable, Sendable {
    /// Open tables, and the bytes of their filters and indexes.
    package var tables = 0
    package var bytes = 0

    package init(tables: Int = 0, bytes: Int = 0) {
        self.tables = tables
        self.bytes = bytes
    }
}
