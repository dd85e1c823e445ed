import Glibc
import Synchronization
import Testing
import VikDB
import VikWire

/// The skip list: order, bounds, and readers beside a writer.
struct MemtableTests {
    private func insert(_ memtable: Memtable, _ key: [UInt8], _ value: [UInt8]?, index: LogIndex, ordinal: UInt32 = 0) {
        key.withUnsafeBytes { key in
            if let value {
                value.withUnsafeBytes { memtable.insert(.user, key, $0, index: index, ordinal: ordinal) }
            } else {
                memtable.insert(.user, key, nil, index: index, ordinal: ordinal)
            }
        }
    }

    private func find(_ memtable: Memtable, _ key: [UInt8], bound: LogIndex) -> Lookup {
        let target = SearchKey(.user, key, bound: bound)
        return memtable.find(target)
    }

    @Test func keysAscendAndVersionsDescend() throws {
        for seed in seeds(5) {
            var random = SeededGenerator(seed)
            let memtable = Memtable(capacity: 1 << 20)
            var expected: [(key: [UInt8], index: LogIndex, ordinal: UInt32)] = []
            for index in 1...2_000 as ClosedRange<LogIndex> {
                let length = Int.random(in: 0...3, using: &random)
                let key = (0..<length).map { _ in UInt8.random(in: 0...3, using: &random) }
                let ordinal = UInt32.random(in: 0...2, using: &random)
                insert(memtable, key, [UInt8(index & 255)], index: index, ordinal: ordinal)
                expected.append((key, index, ordinal))
            }
            expected.sort {
                if $0.key != $1.key { return $0.key.lexicographicallyPrecedes($1.key) }
                return ($0.index, $0.ordinal) > ($1.index, $1.ordinal)
            }
            let cursor = MemtableCursor(memtable)
            let first = SearchKey.first()
            try cursor.seek(first.bytes)
            for version in expected {
                try #require(cursor.isValid)
                let stem = [UInt8](InternalKey.stem(cursor.key))
                try #require(stem == [1] + version.key, "seed \(seed)")
                try #require(InternalKey.index(cursor.key) == version.index, "seed \(seed)")
                try #require([UInt8](cursor.value) == [UInt8(version.index & 255)])
                try cursor.next()
            }
            #expect(!cursor.isValid)
        }
    }

    /// A flush writes one version of a key.
    @Test func tombstonesCountOnceForEachKey() {
        let memtable = Memtable(capacity: 1 << 16)
        for index in 1...10 as ClosedRange<LogIndex> { insert(memtable, [5], nil, index: index) }
        #expect(memtable.tombstones == 1)
        insert(memtable, [5, 5], nil, index: 11)
        insert(memtable, [4], [1], index: 12)
        #expect(memtable.tombstones == 2)
        insert(memtable, [5], [1], index: 13)
        #expect(memtable.tombstones == 1)
        insert(memtable, [5], nil, index: 14)
        insert(memtable, [4], nil, index: 14, ordinal: 1)
        #expect(memtable.tombstones == 3)
    }

    @Test func aSearchFindsTheNewestVersionWithinItsBound() {
        let memtable = Memtable(capacity: 1 << 16)
        insert(memtable, [5], [1], index: 10)
        insert(memtable, [5], [2], index: 20, ordinal: 0)
        insert(memtable, [5], [3], index: 20, ordinal: 1)
        insert(memtable, [5], nil, index: 30)
        func isFound(_ value: UInt8, at index: LogIndex, bound: LogIndex) -> Bool {
            guard case .found(let found) = find(memtable, [5], bound: bound) else { return false }
            return found == StoredValue(bytes: [value], version: index)
        }
        #expect(isFound(1, at: 10, bound: 10) && isFound(1, at: 10, bound: 19))
        #expect(isFound(3, at: 20, bound: 20) && isFound(3, at: 20, bound: 29))
        guard case .deleted = find(memtable, [5], bound: 30) else {
            Issue.record("the tombstone is not the newest version")
            return
        }
        guard case .absent = find(memtable, [5], bound: 9), case .absent = find(memtable, [4], bound: 30),
            case .absent = find(memtable, [5, 0], bound: 30)
        else {
            Issue.record("something was found that is not there")
            return
        }
    }

    /// Readers on other threads see every version that was published before they looked, whole and in order, whichever
    /// way they go.
    @Test func readersNeedNoLock() {
        let count: UInt64 = 60_000
        let memtable = Memtable(capacity: 16 << 20)
        let shared = Shared()
        var threads: [pthread_t] = []
        for number in 0..<2 as Range<UInt64> {
            threads.append(spawn { Self.read(memtable, shared, count, isReversed: number == 1) })
        }
        var random = SeededGenerator(7)
        for index in 1...count {
            var word = (random.next() & 0xffff, index)
            withUnsafeBytes(of: &word) { bytes in
                let key = UnsafeRawBufferPointer(rebasing: bytes[0..<8])
                memtable.insert(.user, key, bytes, index: index, ordinal: 0)
            }
            shared.published.store(index, ordering: .releasing)
        }
        for thread in threads { pthread_join(thread, nil) }
        #expect(shared.faults.load(ordering: .relaxed) == 0)
        #expect(shared.checks.load(ordering: .relaxed) > 0)
    }

    private final class Shared: Sendable {
        let published = Atomic<UInt64>(0)
        let faults = Atomic<Int>(0)
        let checks = Atomic<Int>(0)
    }

    private static func read(_ memtable: Memtable, _ shared: Shared, _ count: UInt64, isReversed: Bool) {
        var published: UInt64 = 0
        while published < count {
            published = shared.published.load(ordering: .acquiring)
            let cursor = MemtableCursor(memtable)
            let first = SearchKey.first()
            guard (try? isReversed ? cursor.seekToLast() : cursor.seek(first.bytes)) != nil else { return }
            var seen: UInt64 = 0
            var last = [UInt8]()
            while cursor.isValid {
                let key = [UInt8](cursor.key)
                let order = last.isEmpty ? nil : last.withUnsafeBytes { InternalKey.compare($0, cursor.key) }
                let isOrdered = order.map { isReversed ? $0 > 0 : $0 < 0 } ?? true
                let index = InternalKey.index(cursor.key)
                let isWhole =
                    cursor.value.count == 16
                    && cursor.value.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == index
                if !isOrdered || !isWhole { shared.faults.add(1, ordering: .relaxed) }
                if index <= published { seen += 1 }
                last = key
                guard (try? isReversed ? cursor.previous() : cursor.next()) != nil else { return }
            }
            if seen != published { shared.faults.add(1, ordering: .relaxed) }
            shared.checks.add(1, ordering: .relaxed)
        }
    }

    private func spawn(_ body: @escaping @Sendable () -> Void) -> pthread_t {
        final class Box: Sendable {
            let body: @Sendable () -> Void
            init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }
        var thread = pthread_t()
        let box = Unmanaged.passRetained(Box(body)).toOpaque()
        pthread_create(
            &thread, nil,
            { box in
                Unmanaged<Box>.fromOpaque(box!).takeRetainedValue().body()
                return nil
            }, box)
        return thread
    }
}
