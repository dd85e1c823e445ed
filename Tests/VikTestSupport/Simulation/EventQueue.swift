/// What will happen, in order of time; what is due at the same time happens in the order in which it was scheduled. A
/// plain value: a binary heap.
struct EventQueue {
    private struct Event {
        let time: UInt64
        let sequence: UInt64
        let action: () -> Void

        func isBefore(_ other: Event) -> Bool {
            (time, sequence) < (other.time, other.sequence)
        }
    }

    private var heap: [Event] = []
    private var nextSequence: UInt64 = 0

    var nextTime: UInt64? { heap.first?.time }

    mutating func push(at time: UInt64, _ action: @escaping () -> Void) {
        heap.append(Event(time: time, sequence: nextSequence, action: action))
        nextSequence += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].isBefore(heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> (time: UInt64, action: () -> Void)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        return (first.time, first.action)
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                if heap[child].isBefore(heap[least]) { least = child }
            }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
