import VikWire

/// A position in a sorted run of internal keys, which moves both ways. Bound to the thread that made it.
///
/// A base class rather than a protocol, because the merge reads `key` of every source on every step: stored
/// properties cost a load there, protocol witnesses a call. `key` and `value` point into memory that the cursor
/// keeps alive and stay good until it moves.
///
/// The state of cursors is not checked for overlapping accesses, which took half of the time of a step: the compiler
/// cannot see that there are none, but one thread moves a cursor, and nothing that a cursor calls leads back to it.
package class Cursor {
    @exclusivity(unchecked) package final var isValid = false
    @exclusivity(unchecked) package final var key = UnsafeRawBufferPointer(start: nil, count: 0)
    @exclusivity(unchecked) package final var value = UnsafeRawBufferPointer(start: nil, count: 0)

    /// Moves to the first key that is not less than `target`.
    package func seek(_ target: UnsafeRawBufferPointer) throws(StorageError) {
        preconditionFailure("every cursor overrides seek")
    }

    /// Moves to the next key. The cursor must be valid.
    package func next() throws(StorageError) {
        preconditionFailure("every cursor overrides next")
    }

    /// Moves to the last key that is less than `target`.
    package func seek(before target: UnsafeRawBufferPointer) throws(StorageError) {
        preconditionFailure("every cursor overrides seek")
    }

    /// Moves to the last key.
    package func seekToLast() throws(StorageError) {
        preconditionFailure("every cursor overrides seekToLast")
    }

    /// Moves to the key before. The cursor must be valid; before the first key it is not valid any more.
    package func previous() throws(StorageError) {
        preconditionFailure("every cursor overrides previous")
    }
}

/// What a search for one key found in one memtable or table.
package enum Lookup {
    /// No visible version here; an older place may have one.
    case absent
    /// The newest visible version is a tombstone.
    case deleted
    /// The newest visible version, copied out.
    case found(StoredValue)
}
