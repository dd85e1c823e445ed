import NIOCore
import VikWire

/// One side's part in proving, before anything else on a connection, that both sides know the cluster's secret:
/// challenge, reply, proof (`proto-spec.md`). A plain value, one for each connection.
struct PeerAuthentication {
    enum Side {
        case dialler
        case acceptor
    }

    /// What a frame leads to.
    enum Step {
        /// Send this; only a frame of `mode` may come next.
        case send(ByteBuffer, next: FrameDecoder.Mode)
        /// The other side knows the secret. Send this, if there is something; the handshake follows.
        case done(ByteBuffer?)
        case refuse(PeerConnection.Ending)
    }

    private let side: Side
    private let secret: ClusterSecret
    /// This side's challenge.
    private let nonce: [UInt8]
    /// The other side's, once it is there.
    private var challenge: [UInt8]?

    init(as side: Side, knowing secret: ClusterSecret) {
        self.side = side
        self.secret = secret
        nonce = Self.makeNonce()
    }

    /// The only frame that may come first.
    var firstMode: FrameDecoder.Mode { side == .dialler ? .authenticationReply : .authenticationChallenge }

    /// What a dialler begins with.
    var opening: ByteBuffer? {
        guard side == .dialler else { return nil }
        var bytes = ByteBuffer()
        FrameEncoder.write(AuthenticationChallenge(nonce: nonce), into: &bytes)
        return bytes
    }

    /// Takes a frame that the mode has let through.
    mutating func receive(_ frame: Frame) throws(WireError) -> Step {
        switch side {
        case .dialler: prove(to: try AuthenticationReply(from: frame))
        case .acceptor where challenge == nil: answer(try AuthenticationChallenge(from: frame))
        case .acceptor: judge(try AuthenticationProof(from: frame))
        }
    }

    private func prove(to reply: AuthenticationReply) -> Step {
        guard secret.accepts(reply.proof, of: .acceptor, dialler: nonce, acceptor: reply.nonce) else {
            return .refuse(.otherSecret)
        }
        var bytes = ByteBuffer()
        let proof = secret.proof(of: .dialler, dialler: nonce, acceptor: reply.nonce)
        FrameEncoder.write(AuthenticationProof(proof: proof), into: &bytes)
        return .done(bytes)
    }

    private mutating func answer(_ challenge: AuthenticationChallenge) -> Step {
        self.challenge = challenge.nonce
        var bytes = ByteBuffer()
        let proof = secret.proof(of: .acceptor, dialler: challenge.nonce, acceptor: nonce)
        FrameEncoder.write(AuthenticationReply(nonce: nonce, proof: proof), into: &bytes)
        return .send(bytes, next: .authenticationProof)
    }

    private func judge(_ proof: AuthenticationProof) -> Step {
        guard secret.accepts(proof.proof, of: .dialler, dialler: challenge!, acceptor: nonce) else {
            return .refuse(.otherSecret)
        }
        return .done(nil)
    }

    /// What it most likely means that the other side closes the connection now.
    var closedByPeer: PeerConnection.Ending {
        switch side {
        case .dialler: .closedAtChallenge
        // A probe that only connects means nothing.
        case .acceptor where challenge == nil: .closedByPeer
        case .acceptor: .closedAtProof
        }
    }

    private static func makeNonce() -> [UInt8] {
        // The system's generator is one for cryptography.
        var generator = SystemRandomNumberGenerator()
        return (0..<AuthenticationChallenge.nonceBytes).map { _ in generator.next() }
    }
}
