import Glibc
import Synchronization

/// Says which seed was running when a precondition of the code under test ends the process. Usable from any thread, and
/// from a signal handler.
enum CrashNote {
    private static let seed = Atomic<UInt64>(0)
    private static let isInstalled = Atomic<Bool>(false)

    /// From now on a trap is this seed's.
    static func running(_ newSeed: UInt64) {
        seed.store(newSeed, ordering: .relaxed)
        guard !isInstalled.exchange(true, ordering: .relaxed) else { return }
        for number in [SIGILL, SIGTRAP, SIGSEGV] { signal(number, report) }
    }

    private static let report: @convention(c) (Int32) -> Void = { number in
        // Only calls that are safe in a signal handler: digits from the last to the first, and one write.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer in
            var start = buffer.count
            func prepend(_ byte: UInt8) {
                start -= 1
                buffer[start] = byte
            }
            prepend(UInt8(ascii: "\n"))
            var rest = CrashNote.seed.load(ordering: .relaxed)
            repeat {
                prepend(UInt8(ascii: "0") + UInt8(rest % 10))
                rest /= 10
            } while rest > 0
            let name: StaticString = "VIK_SEED="
            for offset in stride(from: name.utf8CodeUnitCount - 1, through: 0, by: -1) {
                prepend(name.utf8Start[offset])
            }
            _ = write(STDERR_FILENO, buffer.baseAddress! + start, buffer.count - start)
        }
        signal(number, SIG_DFL)
        raise(number)
    }
}
