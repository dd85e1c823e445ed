import NIOCore
import VikWire

extension PeerConnection {
    /// Why a connection ended.
    struct Ending: Error, Equatable {
        /// The same words for the same cause, so that a repetition can be told.
        var cause: String
        /// What differs from one time to the next.
        var detail = ""

        static let closedByPeer = Ending(cause: "closed by the peer")
        static let unanswered = Ending(cause: "closed by the peer without an answer, its log says why")
        static let handshakeTimedOut = Ending(cause: "the handshake took too long")
        static let unacknowledged = Ending(cause: "the peer's machine does not acknowledge what it is sent")
        static let queueFull = Ending(cause: "the peer reads too slowly, its send queue is full")
        static let replaced = Ending(cause: "replaced by a newer connection")
        static let notPeer = Ending(cause: "no longer a peer")
        static let notNeeded = Ending(cause: "no longer needed")
        static let stopped = Ending(cause: "stopped")
        static let tooManyStrangers = Ending(cause: "too many connections have not said hello")
        static let unknownToPeer = Ending(cause: "it says that this node is no member of the cluster, or no longer")
        static let storeRefused = Ending(
            cause: "it refuses this node's directories: others are on record for this member")
        static let otherStore = Ending(cause: "it showed another store than the one on record, which has dialled")
        static let joinAnswered = Ending(cause: "asked who it is")

        static func violation(_ error: WireError) -> Ending {
            Ending(cause: violationCause, detail: error.description)
        }

        var isViolation: Bool { cause == Self.violationCause }

        /// The node refuses what the peer says, well-formed as it is.
        static func refused(_ reason: String) -> Ending {
            Ending(cause: refusalCause, detail: reason)
        }

        var isRefusal: Bool { cause == Self.refusalCause }

        private static let violationCause = "broke the protocol"
        private static let refusalCause = "the peer's message is refused"
    }
}

/// The cluster's secret.
extension PeerConnection.Ending {
    static let onlyPeerHasSecret = Self(cause: "the peer uses -cluster-secret-file, this node has none")
    static let onlyThisNodeHasSecret = Self(cause: "this node uses -cluster-secret-file, the peer has none")
    static let otherSecret = Self(cause: "the peer's -cluster-secret-file does not hold the secret of this node's")
    static let closedAtChallenge = Self(
        cause: "closed by the peer when asked for the secret: it may have no -cluster-secret-file, its log says why")
    static let closedAtProof = Self(
        cause:
            "closed by the peer when shown that this node knows the secret: its -cluster-secret-file may hold another")
}

/// Names.
extension PeerConnection.Ending {
    static let lookUpTimedOut = Self(cause: "looking its name up takes too long")

    static func failed(toLookUp reason: String) -> Self {
        Self(cause: "its name cannot be looked up: \(reason)")
    }
}

extension PeerConnection.Ending: CustomStringConvertible {
    var description: String {
        detail.isEmpty ? cause : "\(cause): \(detail)"
    }
}
