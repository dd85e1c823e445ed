import NIOCore
import Testing
import VikDB

@Suite struct AcknowledgementWatchTests {
    /// A look at the connection, at so many milliseconds.
    private typealias Look = (at: Int64, unacknowledged: UInt32, probes: UInt32, lastAcknowledgement: Int64)

    /// When the connection is given up, if at all.
    private static func overdue(_ looks: [Look], limit: Int64 = 5_000) -> Int64? {
        var watch = AcknowledgementWatch(limit: .milliseconds(limit))
        let start = NIODeadline.uptimeNanoseconds(1 << 50)
        for look in looks {
            let figures = AcknowledgementWatch.Figures(
                unacknowledged: look.unacknowledged, unansweredProbes: look.probes,
                sinceAcknowledgement: .milliseconds(look.at - look.lastAcknowledgement))
            if watch.isOverdue(figures, now: start + .milliseconds(look.at)) { return look.at }
        }
        return nil
    }

    private static func everyHalfSecond(to end: Int64, _ look: (Int64) -> Look) -> [Look] {
        stride(from: 0, through: end, by: 500).map(look)
    }

    @Test func silentSinceBytesWereSent() {
        #expect(Self.overdue(Self.everyHalfSecond(to: 20_000) { ($0, 3, 0, 0) }) == 5_000)
    }

    @Test func silentSinceAProbe() {
        #expect(Self.overdue(Self.everyHalfSecond(to: 30_000) { ($0, 0, $0 > 10_000 ? 1 : 0, 0) }) == 15_500)
    }

    /// Nothing was owed while it was idle, however long ago the last acknowledgement is.
    @Test func bytesAfterALongSilence() {
        let looks: [Look] = [(0, 0, 0, -600_000), (500, 1, 0, -600_000), (1_000, 0, 0, 501)]
        #expect(Self.overdue(looks) == nil)
        #expect(Self.overdue(Self.everyHalfSecond(to: 20_000) { ($0, $0 > 0 ? 1 : 0, 0, -600_000) }) == 5_500)
    }

    /// Something is on its way at every look, and all of it arrives.
    @Test func busy() {
        #expect(Self.overdue(Self.everyHalfSecond(to: 600_000) { ($0, 9, 0, $0 - 40) }) == nil)
        #expect(Self.overdue(Self.everyHalfSecond(to: 60_000) { ($0, 9, 0, min($0, 9_800)) }) == 15_000)
    }

    /// A peer that takes no more, but answers the probes of its window.
    @Test func fullButAlive() {
        #expect(Self.overdue(Self.everyHalfSecond(to: 600_000) { ($0, 0, $0 % 2_000 == 0 ? 1 : 0, $0 - 100) }) == nil)
    }

    /// The node stood still: what the kernel shows then is no older than the look.
    @Test func afterAPause() {
        #expect(Self.overdue([(0, 0, 0, 0), (3_600_000, 2, 7, 1_000), (3_600_500, 0, 0, 3_600_100)]) == nil)
    }

    /// What was owed before the pause was acknowledged in it; what is owed now was sent after it. A peer that has gone
    /// meanwhile is found out from there on.
    @Test func afterAPauseOfABusyNode() {
        let looks: [Look] = [(0, 9, 0, 0), (500, 9, 0, 460), (10_500, 2, 0, 540)]
        #expect(Self.overdue(looks + [(11_000, 9, 0, 10_900), (11_500, 9, 0, 11_400)]) == nil)
        let silent: [Look] = Self.everyHalfSecond(to: 20_000) { ($0 + 10_500, 2, 0, 540) }
        #expect(Self.overdue([looks[0], looks[1]] + silent) == 15_500)
    }
}
