import Crypto
import VikWire

/// What the nodes of a cluster know and nobody else does (`proto-spec.md`, Authentication). A plain value; neither text
/// nor a debugger's picture of it shows a byte of the secret.
package struct ClusterSecret: Sendable {
    package static let byteCount = 16...1_024

    /// Who makes a proof. The two texts keep one side's proof from being sent back as the other's.
    package enum Prover: String, Sendable {
        case dialler = "vikdb dialler 1"
        case acceptor = "vikdb acceptor 1"
    }

    private let key: SymmetricKey

    /// - Parameter contents: of the file that holds the secret; one newline at its end is not part of it.
    /// - Returns: nil if it is shorter or longer than a secret.
    package init?(fileContents contents: [UInt8]) {
        let bytes = contents.last == UInt8(ascii: "\n") ? contents.dropLast() : contents[...]
        guard Self.byteCount.contains(bytes.count) else { return nil }
        key = SymmetricKey(data: Array(bytes))
    }

    package func proof(of prover: Prover, dialler: [UInt8], acceptor: [UInt8]) -> [UInt8] {
        Array(
            HMAC<SHA256>.authenticationCode(
                for: Self.proven(by: prover, dialler: dialler, acceptor: acceptor), using: key))
    }

    /// In constant time.
    package func accepts(_ proof: [UInt8], of prover: Prover, dialler: [UInt8], acceptor: [UInt8]) -> Bool {
        HMAC<SHA256>.isValidAuthenticationCode(
            proof, authenticating: Self.proven(by: prover, dialler: dialler, acceptor: acceptor), using: key)
    }

    private static func proven(by prover: Prover, dialler: [UInt8], acceptor: [UInt8]) -> [UInt8] {
        precondition(dialler.count == AuthenticationChallenge.nonceBytes && acceptor.count == dialler.count)
        return Array(prover.rawValue.utf8) + dialler + acceptor
    }
}

extension ClusterSecret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "a cluster's secret" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
