import Glibc
import Testing
import VikDB

/// Lines on their way to a descriptor that nobody reads, or slowly, or no longer.
@Suite struct LineWriterTests {
    /// A pipe whose reading end is the test's.
    private final class Pipe {
        let readEnd: Int32
        let writeEnd: Int32

        init() {
            var ends: [Int32] = [0, 0]
            precondition(pipe(&ends) == 0, "a pipe")
            (readEnd, writeEnd) = (ends[0], ends[1])
        }

        deinit {
            close(readEnd)
            close(writeEnd)
        }

        /// Reads until `count` lines are there; blocks.
        func lines(_ count: Int) -> [String] {
            var bytes: [UInt8] = []
            var found = 0
            var chunk = [UInt8](repeating: 0, count: 4_096)
            while found < count {
                let read = Glibc.read(readEnd, &chunk, chunk.count)
                guard read > 0 else { break }
                found += chunk[..<read].count { $0 == UInt8(ascii: "\n") }
                bytes += chunk[..<read]
            }
            return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        }

        /// Puts bytes into it until it has no room, without changing how anybody else's writes behave.
        func fill() {
            let flags = fcntl(writeEnd, F_GETFL)
            _ = fcntl(writeEnd, F_SETFL, flags | O_NONBLOCK)
            let byte = UInt8(ascii: "\n")
            while withUnsafePointer(to: byte, { Glibc.write(writeEnd, $0, 1) }) == 1 {}
            _ = fcntl(writeEnd, F_SETFL, flags)
        }
    }

    private static func writer(_ pipe: Pipe, lines: Int = 100, bytes: Int = 1 << 20) -> LineWriter {
        var limits = LineWriter.Limits()
        limits.lines = lines
        limits.bytes = bytes
        return LineWriter(descriptor: pipe.writeEnd, limits: limits) { "\($0) lost" }
    }

    /// Nobody waits; what was dropped is told, at its place, once there is room again.
    @Test(arguments: [(100, 1 << 20), (1 << 20, 4_000)])
    func aReaderThatHasStoppedHoldsUpNobody(lines: Int, bytes: Int) {
        let pipe = Pipe()
        defer { extendLifetime(pipe) }
        pipe.fill()
        let writer = Self.writer(pipe, lines: lines, bytes: bytes)
        let total = 50_000
        for number in 0..<total { writer.write(line: "line \(number)") }
        #expect(!writer.drain(milliseconds: 50))

        var got: [String] = []
        while got.last?.hasSuffix("lost") != true { got += pipe.lines(1).filter { !$0.isEmpty } }
        let kept = got.count - 1
        #expect(kept > 10 && kept <= lines)
        #expect(got.dropLast() == (0..<kept).map { "line \($0)" }[...])
        #expect(got.last == "\(total - kept) lost")
        writer.write(line: "afterwards")
        #expect(pipe.lines(1) == ["afterwards"])
        #expect(writer.drain(milliseconds: 10_000))
    }

    /// A pipe takes a part of a line that is larger than itself.
    @Test func linesArriveWhole() {
        let pipe = Pipe()
        defer { extendLifetime(pipe) }
        let writer = Self.writer(pipe)
        let line = String(repeating: "abcdefghi ", count: 20_000)
        writer.write(line: line)
        writer.write(line: "next")
        #expect(pipe.lines(2) == [line, "next"])
    }

    /// The descriptor is shared: somebody else may have made it non-blocking.
    @Test func aDescriptorThatDoesNotBlockIsWaitedFor() {
        let pipe = Pipe()
        defer { extendLifetime(pipe) }
        _ = fcntl(pipe.writeEnd, F_SETFL, fcntl(pipe.writeEnd, F_GETFL) | O_NONBLOCK)
        let writer = Self.writer(pipe)
        let line = String(repeating: "x", count: 200_000)
        for _ in 0..<3 { writer.write(line: line) }
        #expect(!writer.drain(milliseconds: 50))
        #expect(pipe.lines(3) == [line, line, line])
        #expect(writer.drain(milliseconds: 10_000))
        #expect(fcntl(pipe.writeEnd, F_GETFL) & O_NONBLOCK != 0)
    }

    /// SIGPIPE would end this process.
    @Test func aReaderThatIsGoneEndsNothing() {
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        close(ends[0])
        defer { close(ends[1]) }
        let writer = LineWriter(descriptor: ends[1]) { "\($0) lost" }
        for number in 0..<1_000 { writer.write(line: "line \(number)") }
        #expect(writer.drain(milliseconds: 10_000))
    }

    /// It is lost alone, also where nothing else waits.
    @Test func aLineThatIsTooLong() {
        let pipe = Pipe()
        defer { extendLifetime(pipe) }
        let writer = Self.writer(pipe, bytes: 100)
        writer.write(line: String(repeating: "x", count: 100))
        #expect(pipe.lines(1) == ["1 lost"])
        writer.write(line: "next")
        #expect(pipe.lines(1) == ["next"])
    }

    /// The last line of a process finds room where others do not.
    @Test func theLastLineIsNotDropped() {
        let pipe = Pipe()
        defer { extendLifetime(pipe) }
        pipe.fill()
        let writer = Self.writer(pipe, lines: 4)
        for number in 0..<10 { writer.write(line: "line \(number)") }
        writer.write(lastLine: "the end")
        var got: [String] = []
        while got.last != "the end" { got += pipe.lines(1).filter { !$0.isEmpty } }
        #expect(got == ["line 0", "line 1", "line 2", "line 3", "6 lost", "the end"])
    }
}
