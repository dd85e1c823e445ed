import VikWire

/// A position in a sorted run of internal keys. Bound to the thread that made it.
///
/// A base class rather than a protocol, because the merge reads `key` of every source on every step: stored
/// properties cost a load there, protocol witnesses a call. `key` and `value` point into memory that the cursor
/// keeps alive and stay good until it moves.
package class Cursor {
    package final var isValid = false
    package final var key = UnsafeRawBufferPointer(start: nil, count: 0)
    package final var value = UnsafeRawBufferPointer(start: nil, count: 0)

    /// Moves to the first key that is not less than `target`.
    package func seek(_ target: UnsafeRawBufferPointer) throws(StorageError) {
        preconditionFailure("every cursor overrides seek")
    }

    /// Moves to the next key. The cursor must be valid.
    package func next() throws(StorageError) {
        preconditionFailure("every cursor overrides next")
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
