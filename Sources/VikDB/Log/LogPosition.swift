/// A place in the log: a segment and a byte in it, ordered as the log grows. A plain value; eight bytes on disk.
struct LogPosition: Comparable, Sendable, CustomStringConvertible {
    let segment: UInt32
    let offset: UInt32

    init(segment: UInt32, offset: UInt32) {
        self.segment = segment
        self.offset = offset
    }

    init(rawValue: UInt64) {
        segment = UInt32(rawValue >> 32)
        offset = UInt32(truncatingIfNeeded: rawValue)
    }

    /// Before all segments, which count from 1.
    static let start = LogPosition(rawValue: 0)

    var rawValue: UInt64 { UInt64(segment) << 32 | UInt64(offset) }

    static func < (left: LogPosition, right: LogPosition) -> Bool {
        left.rawValue < right.rawValue
    }

    var description: String { "segment \(segment), offset \(offset)" }
}
