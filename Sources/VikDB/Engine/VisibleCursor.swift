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
    /// On the way back versions come oldest first, so the newest one is known only once the merge stands before the key:
    /// what it had is held in copies, `heldKey` in the memory of the stem.
    private var isReversed = false
    private var heldKey = UnsafeRawBufferPointer(start: nil, count: 0)
    private var heldValue = UnsafeRawBufferPointer(start: nil, count: 0)
    private var heldValueStorage: UnsafeMutableRawBufferPointer?

    package private(set) var isValid = false
    /// The cursor has stepped over too much; `stem` is where to go on: there, or on the way back before it.
    private(set) var isPaused = false

    init(_ merge: MergeCursor, bound: LogIndex, maxSkipped: Int) {
        self.merge = merge
        self.bound = bound
        self.maxSkipped = maxSkipped
        seen = UnsafeRawBufferPointer(start: stemStorage, count: 0)
    }

    deinit {
        stemStorage.deallocate()
        heldValueStorage?.deallocate()
    }

    var key: UnsafeRawBufferPointer { isReversed ? heldKey : merge.key }
    /// The key without its space.
    package var userKey: UnsafeRawBufferPointer { InternalKey.userKey(key) }
    var stem: UnsafeRawBufferPointer { InternalKey.stem(key) }
    package var value: UnsafeRawBufferPointer { isReversed ? heldValue : merge.value }
    var index: LogIndex { InternalKey.index(key) }

    /// Moves to the first key at or after `key`.
    package mutating func seek(_ space: KeySpace, _ key: UnsafeRawBufferPointer) throws(StorageError) {
        let target = SearchKey(space, key, bound: bound)
        try merge.seek(target.bytes)
        isReversed = false
        seen = UnsafeRawBufferPointer(start: stemStorage, count: 0)
        try settle()
    }

    package mutating func next() throws(StorageError) {
        if isReversed {
            let target = SearchKey(stem: seen, bound: 0)
            try merge.seek(target.bytes)
            isReversed = false
        } else {
            try merge.next()
        }
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

// MARK: - The way back

extension VisibleCursor {
    /// Moves to the last key before `key`, in this space or the one before.
    package mutating func seek(_ space: KeySpace, before key: UnsafeRawBufferPointer) throws(StorageError) {
        let target = SearchKey(space, key, bound: .max)
        try merge.seek(before: target.bytes)
        isReversed = true
        try settleBackward()
    }

    /// Moves to the last key of all.
    package mutating func seekToLast() throws(StorageError) {
        try merge.seekToLast()
        isReversed = true
        try settleBackward()
    }

    package mutating func previous() throws(StorageError) {
        if !isReversed {
            let target = SearchKey(stem: stem, bound: .max)
            try merge.seek(before: target.bytes)
            isReversed = true
        }
        try settleBackward()
    }

    /// The merge stands at the oldest version of a key not looked at yet, if there is one.
    private mutating func settleBackward() throws(StorageError) {
        isValid = false
        while merge.isValid && !isValid {
            guard skipped < maxSkipped else {
                isPaused = true
                return
            }
            isValid = try takeKey()
        }
    }

    /// Holds the newest version of a key within the bound, and moves the merge before all of its versions.
    ///
    /// - Returns: whether the key exists.
    private mutating func takeKey() throws(StorageError) -> Bool {
        holdKey()
        var exists = false
        var steps = 0
        repeat {
            if steps == Self.maxStepsPerKey {
                // As on the way forth: two searches cost more than a step, but there may be any number of versions.
                let newest = SearchKey(stem: seen, bound: bound)
                try merge.seek(newest.bytes)
                if isAtSeen { exists = holdIfVisible() ?? exists }
                let first = SearchKey(stem: seen, bound: .max)
                try merge.seek(before: first.bytes)
                break
            }
            exists = holdIfVisible() ?? exists
            steps += 1
            try merge.previous()
        } while isAtSeen
        skipped += exists ? steps - 1 : steps
        return exists
    }

    private var isAtSeen: Bool {
        merge.isValid && InternalKey.compareStems(InternalKey.stem(merge.key), seen) == 0
    }

    /// - Returns: whether the key exists as of the version at which the merge stands; nil if that is not visible.
    private mutating func holdIfVisible() -> Bool? {
        let key = merge.key
        guard InternalKey.index(key) <= bound else { return nil }
        guard !InternalKey.isDelete(key) else { return false }
        holdKey()
        let value = merge.value
        if value.count > heldValueStorage?.count ?? 0 {
            heldValueStorage?.deallocate()
            heldValueStorage = .allocate(byteCount: 2 * value.count, alignment: 8)
        }
        if let storage = heldValueStorage { storage.copyMemory(from: value) }
        heldValue = UnsafeRawBufferPointer(start: heldValueStorage?.baseAddress, count: value.count)
        return true
    }

    private mutating func holdKey() {
        let key = merge.key
        memcpy(stemStorage, key.baseAddress!, key.count)
        heldKey = UnsafeRawBufferPointer(start: stemStorage, count: key.count)
        seen = InternalKey.stem(heldKey)
    }
}
