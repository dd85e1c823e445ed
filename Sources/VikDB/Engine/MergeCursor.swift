/// Walks several sorted runs as one: a binary heap of cursors, the smallest key on top, or the largest on the way back.
///
/// No two runs hold the same internal key, so the order is total: newest version first, whichever run has it.
package final class MergeCursor: Cursor {
    private let sources: [Cursor]
    /// The valid sources, as a heap.
    @exclusivity(unchecked) private var heap: [Cursor] = []
    /// The way that the heap is ordered for, and on which side of the top all other sources stand.
    private var isReversed = false

    package init(_ sources: [Cursor]) {
        self.sources = sources
        heap.reserveCapacity(sources.count)
    }

    package override func seek(_ target: UnsafeRawBufferPointer) throws(StorageError) {
        for source in sources { try source.seek(target) }
        order(isReversed: false)
    }

    package override func next() throws(StorageError) {
        if isReversed { try turn() }
        let top = heap[0]
        try top.next()
        settle(top)
    }

    package override func seek(before target: UnsafeRawBufferPointer) throws(StorageError) {
        for source in sources { try source.seek(before: target) }
        order(isReversed: true)
    }

    package override func seekToLast() throws(StorageError) {
        for source in sources { try source.seekToLast() }
        order(isReversed: true)
    }

    package override func previous() throws(StorageError) {
        if !isReversed { try turn() }
        let top = heap[0]
        try top.previous()
        settle(top)
    }

    /// Brings all sources but the top, which stays, to its other side.
    private func turn() throws(StorageError) {
        let top = heap[0]
        for source in sources where source !== top {
            // A search and not a step: a memtable may have got a key meanwhile that a step would take for a neighbour.
            if isReversed { try source.seek(top.key) } else { try source.seek(before: top.key) }
        }
        order(isReversed: !isReversed)
    }

    private func order(isReversed: Bool) {
        self.isReversed = isReversed
        heap.removeAll(keepingCapacity: true)
        for source in sources where source.isValid { heap.append(source) }
        for position in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(position) }
        publish()
    }

    /// Puts `top`, which has moved on, in its place.
    private func settle(_ top: Cursor) {
        if !top.isValid {
            let last = heap.removeLast()
            if heap.isEmpty {
                isValid = false
                return
            }
            heap[0] = last
        }
        siftDown(0)
        publish()
    }

    private func siftDown(_ start: Int) {
        // No two keys are equal, so what is not before comes after.
        let isReversed = isReversed
        var position = start
        let cursor = heap[position]
        while true {
            var child = 2 * position + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, (InternalKey.compare(heap[child + 1].key, heap[child].key) < 0) != isReversed {
                child += 1
            }
            guard (InternalKey.compare(heap[child].key, cursor.key) < 0) != isReversed else { break }
            heap[position] = heap[child]
            position = child
        }
        heap[position] = cursor
    }

    private func publish() {
        guard let top = heap.first else {
            isValid = false
            return
        }
        key = top.key
        value = top.value
        isValid = true
    }
}
