import Foundation
import NIOCore

/// The worked examples of `proto-spec.md` and `docs/storage-format.md`: their code blocks that are marked `hex` and named.
package enum SpecExamples {
    /// Those of the protocol.
    package static let all = examples(of: "proto-spec.md")
    package static let storage = examples(of: "docs/storage-format.md")

    private static func examples(of document: String) -> [String: [UInt8]] {
        let path = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../" + document)
        guard let text = try? String(contentsOf: path.standardized, encoding: .utf8) else {
            fatalError("cannot read \(path.path)")
        }
        var examples: [String: [UInt8]] = [:]
        var name: String?
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```hex ") {
                name = String(line.dropFirst("```hex ".count))
                precondition(examples[name!] == nil, "two examples have the name \(name!)")
                examples[name!] = []
            } else if line.hasPrefix("```") {
                name = nil
            } else if let name {
                for byte in line.prefix(while: { $0 != ";" }).split(separator: " ") {
                    examples[name]!.append(UInt8(byte, radix: 16)!)
                }
            }
        }
        return examples
    }

    package static subscript(_ name: String) -> ByteBuffer {
        guard let bytes = all[name] else { fatalError("proto-spec.md has no example named \(name)") }
        return ByteBuffer(bytes: bytes)
    }
}
