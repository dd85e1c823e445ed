import VikWire

/// Hashes one consistent state piece by piece, whatever is written meanwhile: every key of both spaces that exists, with
/// its version and value. Two nodes that applied the same entries get the same hash. Keeps memtables and files of its
/// moment until it is released. A step that failed is the last one.
///
/// `@unchecked Sendable`: handed from thread to thread, but used by one at a time.
package final class StateHasher: @unchecked Sendable {
    /// The applied index of the state.
    package let index: LogIndex
    private var hash: UInt64 = 0
    private var cursor: VisibleCursor
    private var isStarted = false

    init(_ view: EngineView) {
        index = view.index
        cursor = VisibleCursor(view.state.cursor(fillCache: false), bound: view.index, maxSkipped: .max)
    }

    /// Goes on for about `targetBytes` of keys and values. Reads tables, so it runs on a thread that may block.
    ///
    /// - Returns: the hash, once everything is read.
    package func next(targetBytes: Int) throws(StorageError) -> UInt64? {
        if !isStarted {
            try cursor.seek(.system, UnsafeRawBufferPointer(start: nil, count: 0))
            isStarted = true
        }
        var bytes = 0
        while cursor.isValid {
            guard bytes < targetBytes else { return nil }
            for word in [BloomFilter.hash(cursor.stem), cursor.index, BloomFilter.hash(cursor.value)] {
                hash = BloomFilter.fold(hash ^ word)
            }
            bytes += cursor.stem.count + cursor.value.count
            try cursor.next()
        }
        return hash
    }
}
