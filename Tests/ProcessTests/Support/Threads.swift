import Foundation
import Synchronization

/// A flag that one thread raises and others look at.
final class StopFlag: Sendable {
    private let isRaised = Mutex(false)

    var isSet: Bool { isRaised.withLock { $0 } }

    func raise() {
        isRaised.withLock { $0 = true }
    }
}

/// Threads that run while the test's own thread goes on. They block, so they are not tasks.
final class Workers: Sendable {
    private let left: Mutex<Int>

    init(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        left = Mutex(count)
        for number in 0..<count {
            Thread.detachNewThread { [self] in
                body(number)
                left.withLock { $0 -= 1 }
            }
        }
    }

    func wait(within seconds: Double) throws {
        _ = try poll(within: seconds, for: "the end of the load") { left.withLock { $0 == 0 } ? true : nil }
    }
}

/// A value that several threads change.
final class Shared<Value: Sendable>: Sendable {
    private let state: Mutex<Value>

    init(_ value: Value) {
        state = Mutex(value)
    }

    var value: Value { state.withLock { $0 } }

    func change(_ body: (inout Value) -> Void) {
        state.withLock { body(&$0) }
    }
}
