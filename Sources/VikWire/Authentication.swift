import NIOCore

/// The frames with which both sides of a connection prove that they know the cluster's secret, before anything else is
/// decoded: the dialler's challenge, the acceptor's proof and own challenge, the dialler's proof. `proto-spec.md` says
/// what each proof is computed over.
package struct AuthenticationChallenge: Equatable, Sendable {
    package static let nonceBytes = 32
    static let bodyBytes = 12 + nonceBytes

    /// Random, never used twice.
    package var nonce: [UInt8]

    package init(nonce: [UInt8]) {
        precondition(nonce.count == Self.nonceBytes)
        self.nonce = nonce
    }

    func writeBody(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(Hello.magic, Hello.currentVersion, Hello.currentVersion)
        buffer.writeBytes(nonce)
    }

    package init(from frame: Frame) throws(WireError) {
        var body = frame.body
        _ = try Hello.readVersions(from: &body, "authentication challenge")
        self.init(nonce: try body.readExactly(Self.nonceBytes, "authentication challenge"))
        guard body.readableBytes == 0 else { throw .invalid("bytes after the end of a challenge") }
    }
}

package struct AuthenticationReply: Equatable, Sendable {
    static let bodyBytes = AuthenticationChallenge.nonceBytes + AuthenticationProof.proofBytes

    /// The acceptor's own challenge.
    package var nonce: [UInt8]
    package var proof: [UInt8]

    package init(nonce: [UInt8], proof: [UInt8]) {
        precondition(nonce.count == AuthenticationChallenge.nonceBytes && proof.count == AuthenticationProof.proofBytes)
        self.nonce = nonce
        self.proof = proof
    }

    func writeBody(into buffer: inout ByteBuffer) {
        buffer.writeBytes(nonce)
        buffer.writeBytes(proof)
    }

    package init(from frame: Frame) throws(WireError) {
        var body = frame.body
        let nonce = try body.readExactly(AuthenticationChallenge.nonceBytes, "authentication reply")
        self.init(nonce: nonce, proof: try body.readExactly(AuthenticationProof.proofBytes, "authentication reply"))
        guard body.readableBytes == 0 else { throw .invalid("bytes after the end of an authentication reply") }
    }
}

package struct AuthenticationProof: Equatable, Sendable {
    /// Of HMAC-SHA256.
    package static let proofBytes = 32
    static let bodyBytes = proofBytes

    package var proof: [UInt8]

    package init(proof: [UInt8]) {
        precondition(proof.count == Self.proofBytes)
        self.proof = proof
    }

    func writeBody(into buffer: inout ByteBuffer) {
        buffer.writeBytes(proof)
    }

    package init(from frame: Frame) throws(WireError) {
        var body = frame.body
        self.init(proof: try body.readExactly(Self.proofBytes, "authentication proof"))
        guard body.readableBytes == 0 else { throw .invalid("bytes after the end of a proof") }
    }
}

extension ByteBuffer {
    fileprivate mutating func readExactly(_ count: Int, _ what: String) throws(WireError) -> [UInt8] {
        guard let bytes = readBytes(length: count) else { throw .truncated(what) }
        return bytes
    }
}
