/// Walks over the parameters of a raw query, percent-decoded to bytes; refuses unknown and repeated ones.
/// A plain value that holds only its position; the query is passed to each call.
struct QueryParameters {
    private let names: [String]
    private var seen: Set<String> = []
    private var offset = 0

    init(_ names: [String]) {
        self.names = names
    }

    struct Parameter {
        var name: String
        var value: [UInt8]
        /// A `+` that is not percent-encoded: a plus in a URL, but a space as forms, and clients that write queries as
        /// forms do, mean it.
        var hasBarePlus: Bool
    }

    /// The next parameter; one without `=` has an empty value. Nil at the end.
    mutating func next(in query: Span<UInt8>) throws(HTTPFailure) -> Parameter? {
        while offset < query.count {
            let end = query.firstOffset(of: UInt8(ascii: "&"), from: offset) ?? query.count
            let parameter = query.extracting(offset..<end)
            offset = end + 1
            if parameter.isEmpty { continue }
            // Some clients separate by it, and others mean a byte of the value.
            guard parameter.firstOffset(of: UInt8(ascii: ";")) == nil else {
                throw .malformed(
                    "the query has a \";\", expected \"&\" between parameters, and %3B for a semicolon in a value")
            }
            let equals = parameter.firstOffset(of: UInt8(ascii: "=")) ?? parameter.count
            let name = String(decoding: try decode(parameter.extracting(..<equals), "the query"), as: UTF8.self)
            guard names.contains(name) else {
                let expected = names.isEmpty ? "none here" : names.joined(separator: ", ")
                throw .malformed("unknown parameter \"\(name.prefix(64))\", expected \(expected)")
            }
            guard seen.insert(name).inserted else { throw .malformed("parameter \"\(name)\" is given twice") }
            let value = parameter.extracting(min(equals + 1, parameter.count)..<parameter.count)
            return Parameter(
                name: name, value: try decode(value, "parameter \"\(name)\""),
                hasBarePlus: value.firstOffset(of: UInt8(ascii: "+")) != nil)
        }
        return nil
    }

    private func decode(_ text: Span<UInt8>, _ what: String) throws(HTTPFailure) -> [UInt8] {
        guard let bytes = PercentDecoding.decode(text) else {
            throw .malformed("\(what) has a \"%\" that two hexadecimal digits do not follow")
        }
        return bytes
    }
}
