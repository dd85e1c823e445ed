/// Walks several sorted runs as one: a binary heap of cursors, the smallest key on top.
///
/// No two runs hold the same internal key, so the order is total: newest version first, whichever run has it.
final class MergeCursor: Cursor {
    private let sources: [Cursor]
    /// The valid sources, as a heap.
    @exclusivity(unchecked) private var heap: [Cursor] = []

    init(_ sources: [Cursor]) {
        self.sources = sources
        heap.reserveCapacity(sources.count)
    }

    override func seek(_ target: UnsafeRawBufferPointer) throws(StorageError) {
        heap.removeAll(keepingCapacity: true)
        for source in sources {
            try source.seek(target)
            if source.isValid { heap.append(source) }
        }
        for position in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(position) }
        publish()
    }

    override func next() throws(StorageError) {
        let top = heap[0]
        try top.next()
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
        var position = start
        let cursor = heap[position]
        while true {
            var child = 2 * position + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, InternalKey.compare(heap[child + 1].key, heap[child].key) < 0 { child += 1 }
            guard InternalKey.compare(heap[child].key, cursor.key) < 0 else { break }
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
