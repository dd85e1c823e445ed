import NIOCore
import Testing
import VikDB

@Suite struct RetryDelayTests {
    private static func delay(seed: UInt64) -> RetryDelay {
        RetryDelay(least: .milliseconds(50), most: .seconds(2), seed: seed)
    }

    private static func pauses(_ delay: inout RetryDelay) -> [Int64] {
        (0..<10).map { _ in delay.next().nanoseconds }
    }

    @Test func growsToItsCapAndStartsOver() {
        var delay = Self.delay(seed: 1)
        for _ in 0..<3 {
            for (attempt, pause) in Self.pauses(&delay).enumerated() {
                let ceiling = min(2_000_000_000, 50_000_000 << Int64(attempt))
                #expect(pause <= ceiling && pause >= ceiling / 2, "pause \(attempt) is \(pause) ns")
            }
            delay.reset()
        }
    }

    @Test func seedDecides() {
        var (first, same, other) = (Self.delay(seed: 1), Self.delay(seed: 1), Self.delay(seed: 2))
        let pauses = Self.pauses(&first)
        #expect(Self.pauses(&same) == pauses)
        #expect(Self.pauses(&other) != pauses)
    }

    @Test func longestIsOfTheCap() {
        var delay = Self.delay(seed: 1)
        for _ in 0..<5 { #expect(delay.longest() >= .seconds(1)) }
        #expect(delay.next() >= .seconds(1))
        delay.reset()
        #expect(delay.next() <= .milliseconds(50))
    }
}
