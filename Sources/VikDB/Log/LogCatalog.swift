import Synchronization
import VikWire

/// Where the entries of the live log are on disk: all that reading them needs.
///
/// Written on the log lane, read from any thread; behind a lock that is never held during I/O.
final class LogCatalog: Sendable {
    /// A run of consecutive entries within one segment, none of them superseded.
    struct Extent {
        var entries: ClosedRange<LogIndex>
        /// Of the record that holds the first of them, or of one before it from which records follow without a gap.
        var position: LogPosition
        var segmentSize: UInt32
    }

    /// Entries from `first` on are found by walking the records from `position`, until the next point takes over.
    private struct Point {
        var first: LogIndex
        var position: LogPosition
    }

    private struct State {
        var points: [Point] = []
        var lastIndex: LogIndex
        var segmentSizes: [UInt32: UInt32] = [:]
        /// Open files, the one opened first in front.
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

    init(directory: String, fileSystem: any FileSystem, baseIndex: LogIndex) {
        self.directory = directory
        self.fileSystem = fileSystem
        state = Mutex(State(lastIndex: baseIndex))
    }

    var lastIndex: LogIndex { state.withLock(\.lastIndex) }

    var bytesOnDisk: UInt64 {
        state.withLock { $0.segmentSizes.values.reduce(0) { $0 + UInt64($1) } }
    }

    func add(_ segment: LogSegment, _ file: any File) {
        state.withLock { state in
            state.segmentSizes[segment.number] = segment.size
            state.remember(file, segment.number)
        }
    }

    /// Forgets everything: the log goes on after `baseIndex`, in segments that are added from now on.
    func clear(baseIndex: LogIndex) {
        state.withLock { $0 = State(lastIndex: baseIndex) }
    }

    /// Takes note of a record that holds `entries`; they supersede all from the first of them on.
    func add(_ entries: ClosedRange<LogIndex>, at position: LogPosition) {
        state.withLock { state in
            let supersedes = entries.lowerBound <= state.lastIndex
            while let last = state.points.last, last.first >= entries.lowerBound { state.points.removeLast() }
            let last = state.points.last?.position
            if supersedes || last?.segment != position.segment
                || position.offset - last!.offset >= Self.pointDistance
            {
                state.points.append(Point(first: entries.lowerBound, position: position))
            }
            state.lastIndex = entries.upperBound
        }
    }

    /// Where `range` is found, as far as the log has it; at most as many extents as `maxBytes` of an undisturbed log
    /// need.
    func extents(of range: ClosedRange<LogIndex>, maxBytes: Int) -> [Extent] {
        state.withLock { state in
            guard let first = state.points.first?.first, range.lowerBound >= first,
                range.lowerBound <= state.lastIndex
            else { return [] }
            var index = state.pointCovering(range.lowerBound)
            var from = range.lowerBound
            let through = min(range.upperBound, state.lastIndex)
            var extents: [Extent] = []
            let limit = maxBytes / Int(Self.pointDistance) + 2
            while from <= through, extents.count < limit {
                let point = state.points[index]
                let next = index + 1 < state.points.count ? state.points[index + 1].first : state.lastIndex + 1
                extents.append(
                    Extent(
                        entries: from...min(through, next - 1), position: point.position,
                        segmentSize: state.segmentSizes[point.position.segment]!))
                from = next
                index += 1
            }
            return extents
        }
    }

    /// The file of a live segment, opened if it is not open.
    func file(of segment: UInt32) throws(StorageError) -> any File {
        let open = state.withLock { state in
            state.files.first { $0.segment == segment }?.file
        }
        if let open { return open }
        let file = try fileSystem.open(directory + "/" + LogSegment.fileName(segment), .read)
        state.withLock { $0.remember(file, segment) }
        return file
    }
}
