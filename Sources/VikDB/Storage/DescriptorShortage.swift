import Glibc
import Synchronization

/// What a thread does that finds no file descriptor left for a file, its process's or the system's: it waits and tries
/// again, for descriptors come back, as connections do that take them. Nothing was changed by then, so that to wait is
/// always safe, and all that it costs is time, like a slow disk; an error would end the node, at a place of no one's
/// choice. Any thread.
package final class DescriptorShortage: Sendable {
    private static let pauseMicroseconds: UInt32 = 20_000
    /// After so many pauses, five minutes, it is an error after all.
    private static let maxPauses = 15_000
    /// Between two notes, whichever files they are of.
    private static let noteIntervalNanoseconds: UInt64 = 60_000_000_000

    /// Of one call; a plain value.
    struct Wait {
        fileprivate var pauses = 0
    }

    private let note: @Sendable (_ path: String, _ code: Int32) -> Void
    private let nextNote = Atomic<UInt64>(0)

    /// - Parameter note: called by the thread that begins to wait, now and then.
    package init(note: @escaping @Sendable (_ path: String, _ code: Int32) -> Void) {
        self.note = note
    }

    /// Whether a call that failed with `code` should be made again, after a pause.
    func passes(_ path: String, _ code: Int32, _ wait: inout Wait) -> Bool {
        guard code == EMFILE || code == ENFILE, wait.pauses < Self.maxPauses else { return false }
        wait.pauses += 1
        let now = MonotonicClock.nanoseconds
        let next = nextNote.load(ordering: .relaxed)
        if now >= next,
            nextNote.compareExchange(
                expected: next, desired: now + Self.noteIntervalNanoseconds, ordering: .relaxed
            ).exchanged
        {
            note(path, code)
        }
        usleep(Self.pauseMicroseconds)
        return true
    }
}
