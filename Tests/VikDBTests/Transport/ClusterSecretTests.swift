import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

@Suite struct ClusterSecretTests {
    private static func frame(_ name: String, _ mode: FrameDecoder.Mode) throws -> Frame {
        var bytes = SpecExamples[name]
        return try #require(try FrameDecoder(mode: mode).next(from: &bytes))
    }

    private static func secret(_ text: String) -> ClusterSecret? {
        ClusterSecret(fileContents: Array(text.utf8))
    }

    /// The example of `proto-spec.md`, computed by the code that nodes run.
    @Test func workedExample() throws {
        let secret = try #require(Self.secret("a secret of at least sixteen bytes"))
        let challenge = try AuthenticationChallenge(
            from: Self.frame("authentication-challenge", .authenticationChallenge))
        let reply = try AuthenticationReply(from: Self.frame("authentication-reply", .authenticationReply))
        let proof = try AuthenticationProof(from: Self.frame("authentication-proof", .authenticationProof))
        let (dialler, acceptor) = (challenge.nonce, reply.nonce)
        #expect(secret.proof(of: .acceptor, dialler: dialler, acceptor: acceptor) == reply.proof)
        #expect(secret.proof(of: .dialler, dialler: dialler, acceptor: acceptor) == proof.proof)
        #expect(secret.accepts(reply.proof, of: .acceptor, dialler: dialler, acceptor: acceptor))
        #expect(secret.accepts(proof.proof, of: .dialler, dialler: dialler, acceptor: acceptor))
    }

    @Test func aProofIsForOneSideAndTwoChallengesAndOneSecret() throws {
        let secret = try #require(Self.secret("a secret of at least sixteen bytes"))
        let dialler = [UInt8](repeating: 1, count: 32)
        let acceptor = [UInt8](repeating: 2, count: 32)
        let proof = secret.proof(of: .dialler, dialler: dialler, acceptor: acceptor)
        #expect(!secret.accepts(proof, of: .acceptor, dialler: dialler, acceptor: acceptor))
        #expect(!secret.accepts(proof, of: .dialler, dialler: acceptor, acceptor: dialler))
        for place in 0..<32 {
            var changed = (dialler, acceptor, proof)
            changed.0[place] ^= 0x80
            changed.1[place] ^= 0x01
            changed.2[place] ^= 0x10
            #expect(!secret.accepts(proof, of: .dialler, dialler: changed.0, acceptor: acceptor))
            #expect(!secret.accepts(proof, of: .dialler, dialler: dialler, acceptor: changed.1))
            #expect(!secret.accepts(changed.2, of: .dialler, dialler: dialler, acceptor: acceptor))
        }
        let other = try #require(Self.secret("a secret of at least sixteen bytez"))
        #expect(!other.accepts(proof, of: .dialler, dialler: dialler, acceptor: acceptor))
    }

    @Test func lengthAndNewline() throws {
        #expect(Self.secret("") == nil)
        #expect(Self.secret("fifteen bytes..") == nil)
        #expect(Self.secret("fifteen bytes..\n") == nil)
        #expect(ClusterSecret(fileContents: [UInt8](repeating: 7, count: 1_025)) == nil)
        #expect(ClusterSecret(fileContents: [UInt8](repeating: 7, count: 1_024)) != nil)
        let nonce = [UInt8](repeating: 0, count: 32)
        func proof(_ text: String) -> [UInt8]? {
            Self.secret(text)?.proof(of: .dialler, dialler: nonce, acceptor: nonce)
        }
        let plain = try #require(proof("sixteen bytes..."))
        #expect(proof("sixteen bytes...\n") == plain)
        // Only one newline at the end is the editor's.
        #expect(proof("sixteen bytes...\n\n") != plain)
        #expect(proof("\nsixteen bytes...") != plain)
    }

    @Test func noTextShowsIt() throws {
        let text = "sixteen bytes..."
        var options = TransportOptions(seed: 1)
        options.secret = Self.secret(text)
        let secret = try #require(options.secret)
        var dumped = ""
        dump(options, to: &dumped)
        dump(secret, to: &dumped)
        let bytes = Array(text.utf8)
        for shown in ["\(secret)", String(reflecting: secret), "\(options)", String(reflecting: options), dumped] {
            #expect(!shown.contains("sixteen") && !shown.contains("\(bytes[0]), \(bytes[1])"), "\(shown)")
        }
    }
}
