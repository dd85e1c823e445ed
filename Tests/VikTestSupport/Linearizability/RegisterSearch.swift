/// Searches an order of one key's operations in which every read returns what the last write before it wrote, and which
/// keeps the order of operations that did not overlap. A plain value, used once.
///
/// This is the algorithm of Wing and Gong (1993) with Lowe's memory of visited states (2017): walk through calls and
/// returns in order of time, try each operation whose call was passed as the next one, go back at a return whose
/// operation has found no place, and never visit the same set of placed operations with the same value twice.
struct RegisterSearch {
    enum Outcome: Equatable {
        case found
        case none(String)
        case limit
    }

    private struct Operation {
        let source: HistoryOperation
        /// The value written or read; 0 is "no such key".
        let value: Int
        /// Nil: unknown outcome, may take effect at any time after its call or never.
        let end: UInt64?

        var isRead: Bool { source.kind == .get }
    }

    /// A call or a return, in a doubly linked list in order of time; 0 is the list's head.
    private struct Event {
        let operation: Int
        let isReturn: Bool
        var previous: Int
        var next: Int
    }

    private struct State: Hashable {
        let placed: [UInt64]
        let value: Int
    }

    private var operations: [Operation] = []
    private var events: [Event] = []
    /// The return of each operation, or 0.
    private var returnEvent: [Int] = []
    /// For each delete of unknown outcome the one called before it, or -1.
    private var earlierUnknownDelete: [Int] = []
    private let impossibleRead: HistoryOperation?

    init(_ all: [HistoryOperation]) {
        // A write that surely had no effect, and a read that told nothing, constrain nothing. Nor does a write of
        // unknown outcome whose value nobody read: if an order exists with it, one exists without.
        let reads = all.filter { $0.kind == .get && $0.outcome == .ok }
        let seen = Set(reads.compactMap(\.value))
        let relevant = all.filter { operation in
            switch operation.outcome {
            case .ok: true
            case .notApplied: false
            case .unknown: operation.kind == .delete || (operation.kind == .put && seen.contains(operation.value!))
            }
        }
        var numbers: [String: Int] = [:]
        for put in relevant where put.kind == .put { numbers[put.value!] = numbers.count + 1 }
        impossibleRead = reads.first { read in read.value.map { numbers[$0] == nil } ?? false }
        operations = relevant.map { operation in
            Operation(
                source: operation, value: operation.value.flatMap { numbers[$0] } ?? 0,
                end: operation.outcome == .unknown ? nil : operation.return ?? operation.call)
        }
        linkEvents()
        linkUnknownDeletes()
    }

    private mutating func linkEvents() {
        var order: [(time: UInt64, isReturn: Bool, operation: Int)] = []
        for (index, operation) in operations.enumerated() {
            order.append((operation.source.call, false, index))
            if let end = operation.end { order.append((end, true, index)) }
        }
        // At the same instant calls come first: the operations count as concurrent.
        order.sort { ($0.time, $0.isReturn ? 1 : 0, $0.operation) < ($1.time, $1.isReturn ? 1 : 0, $1.operation) }
        events = [Event(operation: -1, isReturn: false, previous: -1, next: order.isEmpty ? -1 : 1)]
        returnEvent = Array(repeating: 0, count: operations.count)
        for (offset, entry) in order.enumerated() {
            let position = offset + 1
            if entry.isReturn { returnEvent[entry.operation] = position }
            events.append(
                Event(
                    operation: entry.operation, isReturn: entry.isReturn, previous: position - 1,
                    next: position == order.count ? -1 : position + 1))
        }
    }

    /// Deletes of unknown outcome differ in nothing but their call, so it is enough to try them in order of call.
    private mutating func linkUnknownDeletes() {
        earlierUnknownDelete = Array(repeating: -1, count: operations.count)
        var last = -1
        for index in operations.indices.sorted(by: { operations[$0].source.call < operations[$1].source.call })
        where operations[index].source.kind == .delete && operations[index].end == nil {
            earlierUnknownDelete[index] = last
            last = index
        }
    }

    mutating func run(maxStates: Int) -> Outcome {
        if let read = impossibleRead {
            return .none("client \(read.client) read \(read.value!) at \(read.call), which nobody wrote")
        }
        var unplaced = operations.count { $0.end != nil }
        var value = 0
        var placed = [UInt64](repeating: 0, count: (operations.count + 63) / 64)
        var visited: Set<State> = []
        var stack: [(event: Int, valueBefore: Int)] = []
        var stuckAt: (depth: Int, event: Int) = (-1, 0)
        var event = events[0].next
        while unplaced > 0 {
            let operation = events[event].operation
            if events[event].isReturn {
                if stack.count > stuckAt.depth { stuckAt = (stack.count, event) }
                guard let (undone, valueBefore) = stack.popLast() else {
                    return .none(describe(operations[events[stuckAt.event].operation].source))
                }
                let index = events[undone].operation
                value = valueBefore
                placed[index / 64] &= ~(1 << UInt64(index % 64))
                if operations[index].end != nil { unplaced += 1 }
                putBack(undone)
                event = events[undone].next
                continue
            }
            if let newValue = result(of: operation, on: value, placed) {
                placed[operation / 64] |= 1 << UInt64(operation % 64)
                if visited.insert(State(placed: placed, value: newValue)).inserted {
                    if visited.count > maxStates { return .limit }
                    stack.append((event, value))
                    value = newValue
                    if operations[operation].end != nil { unplaced -= 1 }
                    takeOut(event)
                    event = events[0].next
                    continue
                }
                placed[operation / 64] &= ~(1 << UInt64(operation % 64))
            }
            event = events[event].next
        }
        return .found
    }

    /// The value after `index` took effect, or nil if it cannot be the next.
    private func result(of index: Int, on value: Int, _ placed: [UInt64]) -> Int? {
        let operation = operations[index]
        if operation.isRead { return operation.value == value ? value : nil }
        if operation.source.kind == .delete, operation.end == nil {
            let earlier = earlierUnknownDelete[index]
            let isInOrder = earlier < 0 || placed[earlier / 64] & (1 << UInt64(earlier % 64)) != 0
            return isInOrder && value != 0 ? 0 : nil
        }
        return operation.value
    }

    private mutating func takeOut(_ call: Int) {
        for event in [call, returnEvent[events[call].operation]] where event != 0 {
            let (previous, next) = (events[event].previous, events[event].next)
            events[previous].next = next
            if next >= 0 { events[next].previous = previous }
        }
    }

    private mutating func putBack(_ call: Int) {
        for event in [returnEvent[events[call].operation], call] where event != 0 {
            let (previous, next) = (events[event].previous, events[event].next)
            events[previous].next = event
            if next >= 0 { events[next].previous = event }
        }
    }

    private func describe(_ operation: HistoryOperation) -> String {
        let value = operation.value ?? "no such key"
        return "no order explains that client \(operation.client)'s \(operation.kind.rawValue) of \(value) at node "
            + "\(operation.node), called at \(operation.call), returned at \(operation.return ?? 0)"
    }
}
