import Foundation
import NIOCore

/// The worked examples of `proto-spec.md`: its code blocks that are marked `hex` and named.
package enum SpecExamples {
    package static let all: [String: [UInt8]] = {
        let path = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../proto-spec.md")
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
    }()

    package static subscript(_ name: String) -> ByteBuffer {
        guard let bytes = all[name] else { fatalError("proto-spec.md has no example named \(name)") }
        return ByteBuffer(bytes: bytes)
    }
}
