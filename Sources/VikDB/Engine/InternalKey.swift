import Glibc
import VikWire

/// Who a key belongs to. The first byte of every internal key, so that the two spaces never meet in a range.
package enum KeySpace: UInt8, Sendable {
    /// What the cluster itself must remember.
    case system = 0
    /// What clients wrote.
    case user = 1
}

/// What a version of a key says.
enum VersionKind: UInt8, Sendable {
    case put = 1
    case delete = 2
}

/// The key under which one version of a key is kept in memtables and tables:
///
///     offset size
///     0      1    space
///     1      K    key
///     1+K    8    index of the Raft entry that wrote it
///     9+K    4    ordinal of the operation within the entry
///     13+K   1    kind: 1 = put, 2 = delete
///
/// Order: space and key ascending, then index and ordinal *descending*, so that the newest version comes first and the
/// last operation of an entry wins. Space and key together are the *stem*.
package enum InternalKey {
    package static let trailerBytes = 13
    package static let minBytes = 1 + trailerBytes
    package static var maxBytes: Int { 1 + WireLimits.maxKeyBytes + trailerBytes }

    /// Negative, zero or positive, as memcmp. Both keys have at least ``minBytes``.
    @inline(__always)
    package static func compare(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
        let leftStem = left.count - trailerBytes
        let rightStem = right.count - trailerBytes
        let order = memcmp(left.baseAddress!, right.baseAddress!, min(leftStem, rightStem))
        if order != 0 { return Int(order) }
        if leftStem != rightStem { return leftStem - rightStem }
        return compareTrailers(left.baseAddress! + leftStem, right.baseAddress! + rightStem)
    }

    /// The order of two versions of one key, by their trailers: the newest one first.
    @inline(__always)
    static func compareTrailers(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer) -> Int {
        let leftIndex = left.loadUnaligned(as: UInt64.self).bigEndian
        let rightIndex = right.loadUnaligned(as: UInt64.self).bigEndian
        if leftIndex != rightIndex { return leftIndex > rightIndex ? -1 : 1 }
        let leftOrdinal = left.loadUnaligned(fromByteOffset: 8, as: UInt32.self).bigEndian
        let rightOrdinal = right.loadUnaligned(fromByteOffset: 8, as: UInt32.self).bigEndian
        return Int(rightOrdinal) - Int(leftOrdinal)
    }

    /// How many bytes, of `limit`, are the same from both places on.
    @inline(__always)
    static func sharedBytes(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, atMost limit: Int) -> Int {
        var shared = 0
        while shared + 8 <= limit {
            let difference =
                left.loadUnaligned(fromByteOffset: shared, as: UInt64.self).littleEndian
                ^ right.loadUnaligned(fromByteOffset: shared, as: UInt64.self).littleEndian
            if difference != 0 { return shared + difference.trailingZeroBitCount / 8 }
            shared += 8
        }
        while shared < limit,
            left.load(fromByteOffset: shared, as: UInt8.self) == right.load(fromByteOffset: shared, as: UInt8.self)
        { shared += 1 }
        return shared
    }

    /// Space and key, without the trailer.
    @inline(__always)
    package static func stem(_ key: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: key.baseAddress, count: key.count - trailerBytes)
    }

    /// The key without space and trailer.
    @inline(__always)
    package static func userKey(_ key: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: key.baseAddress! + 1, count: key.count - minBytes)
    }

    /// The order of two stems.
    @inline(__always)
    package static func compareStems(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
        let order = memcmp(left.baseAddress!, right.baseAddress!, min(left.count, right.count))
        return order != 0 ? Int(order) : left.count - right.count
    }

    @inline(__always)
    package static func index(_ key: UnsafeRawBufferPointer) -> LogIndex {
        key.loadUnaligned(fromByteOffset: key.count - trailerBytes, as: UInt64.self).bigEndian
    }

    @inline(__always)
    package static func isDelete(_ key: UnsafeRawBufferPointer) -> Bool {
        key[key.count - 1] == VersionKind.delete.rawValue
    }

    /// A short key between two neighbours in a table, for its index: after all versions of the key of `last`, before
    /// all those of the key of `next`, whose stem is greater.
    ///
    /// As much of the stem of `next` as tells the two apart. That may be all of it; so the trailer is one that sorts
    /// before that of any entry, none of which has such an index (``WireLimits/maxIndex``).
    package static func separator(after last: UnsafeRawBufferPointer, before next: UnsafeRawBufferPointer) -> [UInt8] {
        let (lastStem, nextStem) = (stem(last), stem(next))
        var shared = 0
        while shared < lastStem.count, lastStem[shared] == nextStem[shared] { shared += 1 }
        let prefix = UnsafeRawBufferPointer(rebasing: nextStem[...shared])
        return [UInt8](unsafeUninitializedCapacity: prefix.count + trailerBytes) { bytes, count in
            count = prefix.count + trailerBytes
            let target = UnsafeMutableRawPointer(bytes.baseAddress!)
            memcpy(target, prefix.baseAddress!, prefix.count)
            writeTrailer(to: target + prefix.count, index: .max, ordinal: .max, kind: .put)
        }
    }

    /// Writes an internal key of `1 + key.count + trailerBytes` bytes to `target`.
    @inline(__always)
    static func write(
        to target: UnsafeMutableRawPointer, space: KeySpace, key: UnsafeRawBufferPointer, index: LogIndex,
        ordinal: UInt32, kind: VersionKind
    ) {
        target.storeBytes(of: space.rawValue, as: UInt8.self)
        if let source = key.baseAddress { memcpy(target + 1, source, key.count) }
        writeTrailer(to: target + 1 + key.count, index: index, ordinal: ordinal, kind: kind)
    }

    @inline(__always)
    private static func writeTrailer(
        to trailer: UnsafeMutableRawPointer, index: LogIndex, ordinal: UInt32, kind: VersionKind
    ) {
        trailer.storeBytes(of: index.bigEndian, as: UInt64.self)
        trailer.storeBytes(of: ordinal.bigEndian, toByteOffset: 8, as: UInt32.self)
        trailer.storeBytes(of: kind.rawValue, toByteOffset: 12, as: UInt8.self)
    }
}

/// An internal key to search for: it sorts before every version of its key that a bound on the index leaves visible.
///
/// A plain value that owns its bytes; lives as long as one search.
package struct SearchKey: ~Copyable {
    package let bytes: UnsafeRawBufferPointer

    /// - Parameter bound: the newest index to find; 0 sorts after all versions of the key.
    package init(_ space: KeySpace, _ key: UnsafeRawBufferPointer, bound: LogIndex) {
        let count = 1 + key.count + InternalKey.trailerBytes
        // By malloc, which is faster than what aligns memory.
        let target = malloc(count)!
        InternalKey.write(
            to: target, space: space, key: key, index: bound, ordinal: bound == 0 ? 0 : .max, kind: .put)
        bytes = UnsafeRawBufferPointer(start: target, count: count)
    }

    package init(_ space: KeySpace, _ key: [UInt8], bound: LogIndex) {
        // The copy is made within the call, while the array's bytes are at hand.
        self = key.span.withUnsafeBytes { SearchKey(space, $0, bound: bound) }
    }

    /// Before every key of both spaces.
    package static func first() -> SearchKey {
        SearchKey(.system, UnsafeRawBufferPointer(start: nil, count: 0), bound: .max)
    }

    /// The same for the stem of a key from a memtable or block, where every key is of a known space.
    package init(stem: UnsafeRawBufferPointer, bound: LogIndex) {
        let space = KeySpace(rawValue: stem[0])!
        self.init(space, UnsafeRawBufferPointer(rebasing: stem.dropFirst()), bound: bound)
    }

    deinit {
        free(UnsafeMutableRawPointer(mutating: bytes.baseAddress!))
    }
}
