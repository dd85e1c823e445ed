import Glibc
import VikWire

/// Walks the keys that exist at one index: of each key the newest version within the bound, unless it is a tombstone.
/// Bound to one thread.
package struct VisibleCursor: ~Copyable {
    /// Versions of one key that are stepped over before the rest is skipped by a search.
    private static let maxStepsPerKey = 8

    private let merge: MergeCursor
    private let bound: LogIndex
    /// Versions and tombstones that one cursor steps over before it pauses.
    private let maxSkipped: Int
    private var skipped = 0
    private let stemStorage = UnsafeMutableRawPointer.allocate(byteCount: InternalKey.maxBytes, alignment: 8)
    /// The stem last looked at; its older versions are hidden.
    private var seen: UnsafeRawBufferPointer

    package private(set) var isValid = false
    /// The cursor has stepped over too much; `stem` is where to go on.
    private(set) var isPaused = false

    init(_ merge: MergeCursor, bound: LogIndex, maxSkipped: Int) {
        self.merge = merge
        self.bound = bound
        self.maxSkipped = maxSkipped
        seen = UnsafeRawBufferPointer(start: stemStorage, count: 0)
    }

    deinit {
        stemStorage.deallocate()
    }

    var key: UnsafeRawBufferPointer { merge.key }
    /// The key without its space.
    package var userKey: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: stem.dropFirst()) }
    var stem: UnsafeRawBufferPointer { InternalKey.stem(merge.key) }
    package var value: UnsafeRawBufferPointer { merge.value }
    var index: LogIndex { InternalKey.index(merge.key) }

    /// Moves to the first key at or after `key`.
    package mutating func seek(_ space: KeySpace, _ key: UnsafeRawBufferPointer) throws(StorageError) {
        let target = SearchKey(space, key, bound: bound)
        try merge.seek(target.bytes)
        seen = UnsafeRawBufferPointer(start: stemStorage, count: 0)
        try settle()
    }

    package mutating func next() throws(StorageError) {
        try merge.next()
        try settle()
    }

    private mutating func settle() throws(StorageError) {
        var stepsInKey = 0
        while merge.isValid {
            let key = merge.key
            let stem = InternalKey.stem(key)
            let isOlderVersion = !seen.isEmpty && InternalKey.compareStems(stem, seen) == 0
            if !isOlderVersion && skipped >= maxSkipped {
                isPaused = true
                isValid = false
                return
            }
            let isNotYetVisible = InternalKey.index(key) > bound
            if !isOlderVersion && !isNotYetVisible {
                memcpy(stemStorage, stem.baseAddress!, stem.count)
                seen = UnsafeRawBufferPointer(start: stemStorage, count: stem.count)
                stepsInKey = 0
                if !InternalKey.isDelete(key) {
                    isValid = true
                    return
                }
            }
            skipped += 1
            stepsInKey += 1
            if stepsInKey <= Self.maxStepsPerKey {
                try merge.next()
            } else {
                // The search that follows costs more than a step, but a key may have any number of versions.
                let target = SearchKey(stem: stem, bound: isOlderVersion ? 0 : bound)
                try merge.seek(target.bytes)
                stepsInKey = 0
            }
        }
        isValid = false
    }
}
