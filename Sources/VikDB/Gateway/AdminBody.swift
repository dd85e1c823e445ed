import NIOCore
import VikWire

/// The bodies of requests that change the cluster itself.
enum AdminBody {
    private static let memberShape = #"{"node_id": "…", "address": "host:port", "voter": true}"#

    /// The request of a route, with what its body says.
    static func request(_ route: AdminRoute, _ body: ByteBuffer) throws(HTTPFailure) -> AdminRequest {
        switch route {
        case .setMember: try setMember(body.readableBytesUInt8Span)
        case .handOver: .handOver(to: try target(body.readableBytesUInt8Span))
        case .mergeTables: .mergeTables
        case .remove(let label): .remove(label: label)
        case .promote(let label): .promote(label: label)
        }
    }

    private static func setMember(_ bytes: Span<UInt8>) throws(HTTPFailure) -> AdminRequest {
        guard !bytes.isEmpty else { throw .malformed("the body is empty, expected \(memberShape)") }
        var reader = JSONReader()
        var seen: UInt8 = 0
        var (label, address, becomesVoter) = ("", "", true)
        try reader.beginObject(bytes)
        while let field = try reader.nextField(of: ["node_id", "address", "voter"], seen: &seen, in: bytes) {
            switch field {
            case 0: label = try text(&reader, bytes)
            case 1: address = try text(&reader, bytes)
            default: becomesVoter = try reader.readBoolean(bytes)
            }
        }
        try reader.end(bytes)
        guard seen & 0b11 == 0b11 else {
            throw .malformed("\"\(seen & 1 == 0 ? "node_id" : "address")\" is missing, expected \(memberShape)")
        }
        try check(label)
        guard let parsed = try? HostPort.parse(address) else {
            throw .malformed("\"address\" is not the host:port of a replication listener")
        }
        guard !parsed.isUnspecified else {
            throw .malformed(
                "\"address\" is \(parsed), which stands for all interfaces, expected the host:port that other nodes reach "
                    + "the member at")
        }
        address = parsed.description
        return .setMember(label: label, address: address, becomesVoter: becomesVoter)
    }

    private static func target(_ bytes: Span<UInt8>) throws(HTTPFailure) -> String? {
        guard !bytes.isEmpty else { return nil }
        var reader = JSONReader()
        var seen: UInt8 = 0
        var label: String?
        try reader.beginObject(bytes)
        while try reader.nextField(of: ["node_id"], seen: &seen, in: bytes) != nil { label = try text(&reader, bytes) }
        try reader.end(bytes)
        if let label { try check(label) }
        return label
    }

    private static func check(_ label: String) throws(HTTPFailure) {
        guard (1...WireLimits.maxLabelBytes).contains(label.utf8.count),
            label.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f })
        else {
            throw .malformed(
                "\"node_id\" is not a -node-id, expected 1 to \(WireLimits.maxLabelBytes) bytes without control characters"
            )
        }
    }

    private static func text(_ reader: inout JSONReader, _ bytes: Span<UInt8>) throws(HTTPFailure) -> String {
        let token = try reader.readString(bytes)
        let text =
            token.hasEscapes
            ? String(validating: try reader.unescaped(token, bytes), as: UTF8.self)
            : String(validating: Array(copying: bytes.extracting(token.range)), as: UTF8.self)
        guard let text else { throw .malformed("a text of the body is not UTF-8") }
        return text
    }
}

extension Array where Element == UInt8 {
    fileprivate init(copying span: Span<UInt8>) {
        self = span.withUnsafeBytes { Array($0) }
    }
}
