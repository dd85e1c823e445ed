/// Why bytes from a peer, a log or a command were refused. The input is left unused; nothing was allocated for it.
package enum WireError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The bytes end before the value they announce.
    case truncated(String)
    /// A length or count is above its limit.
    case tooLarge(field: String, value: UInt64, limit: UInt64)
    /// A field holds a value that this version does not know.
    case unknown(field: String, value: UInt64)
    /// A field contradicts another field or a rule of the protocol.
    case invalid(String)
    /// The checksum does not match the bytes.
    case badChecksum(expected: UInt32, found: UInt32)
    /// The first bytes are not VikDB's.
    case badMagic

    /// A frame whose type is unknown, or not allowed in the connection's state.
    package static func frameType(_ type: UInt8) -> WireError {
        .unknown(field: "frame type", value: UInt64(type))
    }

    package var description: String {
        switch self {
        case .truncated(let what): "\(what) ends early"
        case .tooLarge(let field, let value, let limit): "\(field) is \(value), the limit is \(limit)"
        case .unknown(let field, let value): "unknown \(field) \(value)"
        case .invalid(let why): why
        case .badChecksum(let expected, let found): "checksum \(found) does not match \(expected)"
        case .badMagic: "not VikDB's replication protocol"
        }
    }
}
