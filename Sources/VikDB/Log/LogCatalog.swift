import Synchronization
import VikWire

/// Where the entries of the live log are on disk: all that reading and discarding them needs.
///
/// Written on the log lane, read from any thread; behind a lock that is never held during I/O. Segments drop out of it
/// on the log lane, their files are removed on another.
final class LogCatalog: Sendable {
    /// A run of consecutive entries within one segment, none of them superseded.
    struct Extent {
        var entries: ClosedRange<LogIndex>
        /// Of the record that holds the first of them, or of one before it from which records follow without a gap.
        var position: LogPosition
        var segmentSize: UInt32
    }

    /// A written record of entries.
    struct Record: Sendable {
        var entries: ClosedRange<LogIndex>
        var lastTerm: Term
        var position: LogPosition
        /// Just behind it.
        var end: UInt32
    }

    /// Entries from `first` on are found by walking the records from `position`, until the next point takes over.
    private struct Point {
        var first: LogIndex
        var position: LogPosition
    }

    private struct State {
        var points: [Point] = []
        /// The log starts after it.
        var base: LogBase
        /// The log ends with it.
        var last: LogBase
        var segments = LiveSegments()
        /// No longer part of the log, but their files are there.
        var discarded: [(number: UInt32, size: UInt32)] = []
        /// Open files of live segments, the one opened first in front.
        var files: [(segment: UInt32, file: any File)] = []

        /// The last point at or before `index`.
        func pointCovering(_ index: LogIndex) -> Int {
            var low = 0
            var high = points.count
            while high - low > 1 {
                let middle = (low + high) / 2
                if points[middle].first <= index { low = middle } else { high = middle }
            }
            return low
        }

        mutating func remember(_ file: any File, _ segment: UInt32) {
            // Kept open, the file of a discarded segment would keep its space.
            guard segments.contains(segment) else { return }
            files.removeAll { $0.segment == segment }
            if files.count == LogCatalog.maxOpenFiles { files.removeFirst() }
            files.append((segment, file))
        }
    }

    /// Bytes between two points of an undisturbed run: how far a reader may have to walk before its first entry.
    private static let pointDistance: UInt32 = 32 << 10
    private static let maxOpenFiles = 8

    private let directory: String
    private let fileSystem: any FileSystem
    private let state: Mutex<State>

    init(directory: String, fileSystem: any FileSystem, base: LogBase) {
        self.directory = directory
        self.fileSystem = fileSystem
        state = Mutex(State(base: base, last: base))
    }

    var base: LogBase { state.withLock(\.base) }

    var lastIndex: LogIndex { state.withLock(\.last.index) }

    /// Of live segments, and of discarded ones whose files were not removed yet.
    var bytesOnDisk: UInt64 {
        state.withLock { state in
            state.discarded.reduce(state.segments.bytesOnDisk) { $0 + UInt64($1.size) }
        }
    }

    private func path(_ segment: UInt32) -> String {
        directory + "/" + LogSegment.fileName(segment)
    }

    // MARK: Writing

    func add(_ segment: LogSegment, _ file: any File) {
        state.withLock { state in
            state.segments.append(segment.number, size: segment.size)
            state.remember(file, segment.number)
        }
    }

    /// Takes note of a record in the newest segment; its entries supersede all from the first of them on.
    func add(_ record: Record) {
        state.withLock { state in
            let first = record.entries.lowerBound
            let supersedes = first <= state.last.index
            state.segments.addRecord(startingAt: first, after: state.last, end: record.end)
            while let last = state.points.last, last.first >= first { state.points.removeLast() }
            let last = state.points.last?.position
            if supersedes || last?.segment != record.position.segment
                || record.position.offset - last!.offset >= Self.pointDistance
            {
                state.points.append(Point(first: first, position: record.position))
            }
            state.last = LogBase(index: record.entries.upperBound, term: record.lastTerm)
        }
    }

    // MARK: Discarding

    /// Where the log may start if it needs no entry through `limit`.
    func newestStart(through limit: LogIndex) -> (segment: UInt32, base: LogBase)? {
        state.withLock { $0.segments.newestStart(through: limit) }
    }

    func firstIndex(keepingBytes bytes: Int) -> LogIndex {
        state.withLock { $0.segments.firstIndex(keepingBytes: bytes, lastIndex: $0.last.index) }
    }

    /// Lets the log start after `base`, with the segment `oldest`: entries before are no longer found, and the files
    /// that held them may be removed.
    func discard(before oldest: UInt32, base: LogBase) {
        state.withLock { state in
            state.base = base
            state.discarded += state.segments.removeAll(before: oldest)
            state.files.removeAll { $0.segment < oldest }
            state.points.removeFirst(state.points.prefix { $0.position.segment < oldest }.count)
            if state.points.isEmpty { state.last = base }
        }
    }

    var hasDiscarded: Bool { state.withLock { !$0.discarded.isEmpty } }

    /// Removes the files of discarded segments; one thread at a time.
    func removeDiscarded() throws(StorageError) {
        let numbers = state.withLock { $0.discarded.map(\.number) }
        guard !numbers.isEmpty else { return }
        for number in numbers {
            try fileSystem.remove(path(number))
            state.withLock { state in state.discarded.removeAll { $0.number == number } }
        }
        try fileSystem.syncDirectory(directory)
    }

    // MARK: Reading

    /// Where `range` is found, as far as the log has it; at most as many extents as `maxBytes` of an undisturbed log
    /// need.
    func extents(of range: ClosedRange<LogIndex>, maxBytes: Int) -> [Extent] {
        state.withLock { state in
            guard let first = state.points.first?.first, range.lowerBound >= first,
                range.lowerBound <= state.last.index
            else { return [] }
            var index = state.pointCovering(range.lowerBound)
            var from = range.lowerBound
            let through = min(range.upperBound, state.last.index)
            var extents: [Extent] = []
            let limit = maxBytes / Int(Self.pointDistance) + 2
            while from <= through, extents.count < limit {
                let point = state.points[index]
                let next = index + 1 < state.points.count ? state.points[index + 1].first : state.last.index + 1
                extents.append(
                    Extent(
                        entries: from...min(through, next - 1), position: point.position,
                        segmentSize: state.segments.size(of: point.position.segment)))
                from = next
                index += 1
            }
            return extents
        }
    }

    /// The file of a segment, opened if it is not open; nil if the segment was discarded meanwhile.
    func file(of segment: UInt32) throws(StorageError) -> (any File)? {
        let open = state.withLock { state in
            state.files.first { $0.segment == segment }?.file
        }
        if let open { return open }
        do throws(StorageError) {
            let file = try fileSystem.open(path(segment), .read)
            state.withLock { $0.remember(file, segment) }
            return file
        } catch {
            // No file is removed before its segment is out of the log.
            if state.withLock({ $0.segments.contains(segment) }) { throw error }
            return nil
        }
    }
}
