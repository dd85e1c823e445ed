import DequeModule
import Glibc

/// Writes lines to a descriptor on a thread of its own: whoever has something to say never waits for whoever reads.
///
/// The descriptor is shared with other processes, so it stays as it is: writes block, and one made non-blocking by
/// somebody else is waited for. What finds no room is dropped, counted, and said once there is room again.
///
/// `@unchecked Sendable`: all variables are touched under `monitor` alone, but for `endsMidLine`, which is the thread's.
package final class LineWriter: @unchecked Sendable {
    /// The most that waits; a line that finds more is dropped, and so are those after it until half of it is gone.
    package struct Limits: Sendable {
        package var lines = 8_192
        package var bytes = 2 << 20

        package init() {}
    }

    private enum Item {
        case line([UInt8])
        /// Says how many lines were dropped, as of when its turn comes.
        case loss
    }

    private let descriptor: Int32
    private let limits: Limits
    private let sentence: @Sendable (_ lost: Int) -> String
    private let monitor = Monitor()
    /// The first one is being written.
    private var items: Deque<Item> = []
    private var bytes = 0
    private var added: UInt64 = 0
    private var done: UInt64 = 0
    private var lost = 0
    private var isDropping = false
    private var lossIsQueued = false
    private var isStarted = false
    private var endsMidLine = false

    /// - Parameter sentence: what is said of lines that were dropped.
    package init(descriptor: Int32, limits: Limits = Limits(), sentence: @escaping @Sendable (_ lost: Int) -> String) {
        self.descriptor = descriptor
        self.limits = limits
        self.sentence = sentence
    }

    package func write(line: String) {
        write(bytes: Array((line + "\n").utf8), isUrgent: false)
    }

    /// A line that is worth more than the limits: for the few that a process ends with.
    package func write(lastLine line: String) {
        write(bytes: Array((line + "\n").utf8), isUrgent: true)
    }

    /// Text that need not be a line.
    package func write(text: String) {
        write(bytes: Array(text.utf8), isUrgent: false)
    }

    private func write(bytes new: [UInt8], isUrgent: Bool) {
        monitor.locked {
            if !isUrgent, isDropping || items.count >= limits.lines || bytes + new.count > limits.bytes {
                isDropping = true
                lost += 1
                // One that is larger than all the room there is would else be the last.
                return resumeWithRoom()
            }
            if lost > 0 { queueLoss() }
            guard startIfNeeded() else {
                lost += 1
                return
            }
            items.append(.line(new))
            bytes += new.count
            added += 1
        }
        monitor.announce()
    }

    /// Waits until everything written before has left, or so many milliseconds.
    ///
    /// - Returns: whether it has.
    @discardableResult
    package func drain(milliseconds: UInt64) -> Bool {
        let deadline = MonotonicClock.nanoseconds + milliseconds * 1_000_000
        return monitor.locked {
            let last = added
            return monitor.wait(until: deadline) { done >= last }
        }
    }

    // MARK: Under the lock

    private func queueLoss() {
        guard !lossIsQueued, startIfNeeded() else { return }
        lossIsQueued = true
        items.append(.loss)
        added += 1
    }

    /// From here on lines are taken again, behind the word about those that were not.
    private func resumeWithRoom() {
        guard isDropping, items.count <= limits.lines / 2, bytes <= limits.bytes / 2 else { return }
        isDropping = false
        if lost > 0 { queueLoss() }
    }

    /// - Returns: false: the system has no thread to give yet.
    private func startIfNeeded() -> Bool {
        if !isStarted { isStarted = DetachedThread.run { self.run() } }
        return isStarted
    }

    // MARK: On the thread

    /// For as long as the process runs: nobody waits for its end.
    private func run() {
        nameThread("vikdb-lines")
        while true {
            let (bytes, told) = monitor.locked { () -> ([UInt8], Int) in
                while items.isEmpty { monitor.wait() }
                switch items[0] {
                case .line(let bytes): return (bytes, 0)
                case .loss: return (Array((sentence(lost) + "\n").utf8), lost)
                }
            }
            let isWritten = write(bytes)
            monitor.locked { finishFirst(isWritten: isWritten, told: told) }
            monitor.announce()
        }
    }

    private func finishFirst(isWritten: Bool, told: Int) {
        switch items.removeFirst() {
        case .line(let line):
            bytes -= line.count
            if !isWritten { lost += 1 }
        case .loss:
            lossIsQueued = false
            if isWritten { lost -= told }
        }
        done += 1
        resumeWithRoom()
    }

    /// - Returns: false if nobody will see it.
    private func write(_ line: [UInt8]) -> Bool {
        var rest = (endsMidLine ? [UInt8(ascii: "\n")] : []) + line
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                endsMidLine = count < rest.count
                rest.removeFirst(count)
            } else if count < 0, errno == EAGAIN {
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wait, 1, -1)
            } else if count == 0 || errno != EINTR {
                return false
            }
        }
        return true
    }
}
