import NIOCore

/// Tells from the kernel's own figures of a connection whether its peer still acknowledges what it is sent, so that the
/// node gives a dead connection up and not the kernel (docs/architecture.md, Dead connections). A plain value.
package struct AcknowledgementWatch: Sendable {
    /// As the kernel has them at one moment.
    package struct Figures: Sendable {
        /// Segments that are out, not yet acknowledged.
        package var unacknowledged: UInt32
        /// Probes that nobody has answered: of an idle connection, of one whose peer takes no more, or of one with
        /// bytes that have found no way out of this machine.
        package var unansweredProbes: UInt32
        package var sinceAcknowledgement: TimeAmount

        package init(unacknowledged: UInt32, unansweredProbes: UInt32, sinceAcknowledgement: TimeAmount) {
            self.unacknowledged = unacknowledged
            self.unansweredProbes = unansweredProbes
            self.sinceAcknowledgement = sinceAcknowledgement
        }
    }

    private let limit: TimeAmount
    /// Between two looks; after more, this node stood still, and nothing that was owed before says anything of the peer.
    private let maxPause: TimeAmount
    private var lastLook: NIODeadline?
    /// Since when the peer has been seen to owe an answer, whichever it was.
    private var owedSince: NIODeadline?

    package init(limit: TimeAmount) {
        self.limit = limit
        maxPause = .nanoseconds(limit.nanoseconds / 2)
    }

    /// Whether the peer has owed an answer for as long as it may, and not given any meanwhile.
    package mutating func isOverdue(_ figures: Figures, now: NIODeadline) -> Bool {
        if let lastLook, now - lastLook > maxPause { owedSince = nil }
        defer { lastLook = now }
        guard figures.unacknowledged > 0 || figures.unansweredProbes > 0 else {
            owedSince = nil
            return false
        }
        // A busy connection always owes something, one that was idle has had nothing to acknowledge.
        let since = max(owedSince ?? now, now - figures.sinceAcknowledgement)
        owedSince = since
        return now - since >= limit
    }
}
