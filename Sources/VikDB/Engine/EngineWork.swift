/// What an engine has done since it was opened, for metrics. A plain value.
package struct EngineWork: Equatable, Sendable {
    /// Keys and values of commands that were applied.
    package var appliedBytes: UInt64 = 0
    /// Memtables that went to level 0, and the size of their tables.
    package var flushes: UInt64 = 0
    package var flushWrittenBytes: UInt64 = 0
    /// Merges that are done, and the size of their tables: those that went and those that came.
    package var merges: UInt64 = 0
    package var mergeReadBytes: UInt64 = 0
    package var mergeWrittenBytes: UInt64 = 0
    /// The merges by their cause.
    package var mergesByCause: [MergeCause: UInt64] = [:]
    /// Times that tables changed their level as they were.
    package var moves: UInt64 = 0

    package init() {}
}
