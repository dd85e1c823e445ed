import Testing
import VikDB

/// Which chunks of a snapshot are tried, by whether the trials pay.
@Suite struct CompressionTrialsTests {
    @Test func whileTheyPayAllAreTried() {
        var trials = CompressionTrials()
        for _ in 0..<100 {
            #expect(turn(&trials))
            trials.ended(paid: true)
        }
    }

    @Test func thoseThatDoNotPayGetRareAndNeverEnd() {
        var trials = CompressionTrials()
        var skipped: [Int] = []
        for _ in 0..<8 {
            #expect(turn(&trials))
            trials.ended(paid: false)
            var count = 0
            while count < 100, !peek(trials) {
                _ = trials.takeTurn()
                count += 1
            }
            skipped.append(count)
        }
        #expect(skipped == [1, 2, 4, 8, 16, 32, 32, 32])
    }

    @Test func oneThatPaysStartsOver() {
        var trials = CompressionTrials()
        for _ in 0..<4 {
            while !trials.takeTurn() {}
            trials.ended(paid: false)
        }
        while !trials.takeTurn() {}
        trials.ended(paid: true)
        #expect(turn(&trials))
        trials.ended(paid: false)
        #expect(!turn(&trials))
        #expect(turn(&trials))
    }

    private func turn(_ trials: inout CompressionTrials) -> Bool {
        trials.takeTurn()
    }

    /// What the next turn would be.
    private func peek(_ trials: CompressionTrials) -> Bool {
        var copy = trials
        return copy.takeTurn()
    }
}
