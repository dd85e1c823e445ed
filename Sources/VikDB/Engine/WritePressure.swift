/// How far flushes and merges are behind what was applied, and so what whoever applies entries has to do about it.
package enum WritePressure: Int, Comparable, Sendable {
    case none
    /// Level 0 grows: entries are applied slowly, so that merges catch up before writes have to stop.
    case slowdown
    /// Too many tables of level 0, or memtables, wait: nothing is applied.
    case stall

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}
