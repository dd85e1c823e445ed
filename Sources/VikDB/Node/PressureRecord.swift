/// How often and how long flushes and merges were so far behind that writes had to wait, as seen once a tick. A plain
/// value.
package struct PressureRecord: Sendable, Equatable {
    /// Times that it came to so much pressure from less, and milliseconds under it.
    package struct Episodes: Sendable, Equatable {
        package private(set) var count: UInt64 = 0
        package private(set) var milliseconds: UInt64 = 0

        fileprivate mutating func tick(isNew: Bool, milliseconds: UInt64) {
            if isNew { count += 1 }
            self.milliseconds += milliseconds
        }
    }

    package private(set) var current = WritePressure.none
    package private(set) var slowdowns = Episodes()
    package private(set) var stalls = Episodes()

    package init() {}

    package mutating func tick(_ pressure: WritePressure, milliseconds: UInt64) {
        switch pressure {
        case .none: break
        case .slowdown: slowdowns.tick(isNew: current < pressure, milliseconds: milliseconds)
        case .stall: stalls.tick(isNew: current < pressure, milliseconds: milliseconds)
        }
        current = pressure
    }
}
