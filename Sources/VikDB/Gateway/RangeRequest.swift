import NIOCore
import VikWire

/// What a client asked of a range, kept so that the answer can name its next page. A plain value.
package struct RangeRequest: Equatable {
    package var start: [UInt8] = []
    /// Empty: to the last key.
    package var end: [UInt8] = []
    /// As given, or nil.
    package var limit: Int?
    package var consistency: ReadConsistency?

    init(start: [UInt8], end: [UInt8], limit: Int?, consistency: ReadConsistency?) {
        self.start = start
        self.end = end
        self.limit = limit
        self.consistency = consistency
    }

    /// Reads the query of `GET /kv/range`.
    init(query: Span<UInt8>, _ limits: GatewayLimits) throws(HTTPFailure) {
        var parameters = QueryParameters(["start", "end", "limit", "encoding", "consistency"])
        var isBase64 = false
        var ambiguous: String?
        while let parameter = try parameters.next(in: query) {
            let value = parameter.value
            switch parameter.name {
            case "start", "end":
                if parameter.name == "start" { start = value } else { end = value }
                if parameter.hasBarePlus { ambiguous = parameter.name }
            case "limit":
                guard !value.isEmpty, value.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains) else {
                    throw .malformed("parameter \"limit\" is not a number, expected 1 to \(limits.maxRangeLimit)")
                }
                // Digits alone fail only as too large a number.
                limit = try Self.checkedLimit(Int(String(decoding: value, as: UTF8.self)) ?? .max, limits)
            case "encoding":
                guard value.span.isEqual(to: "base64") else {
                    throw .malformed("parameter \"encoding\" is unknown, expected \"base64\"")
                }
                isBase64 = true
            default:
                consistency = try ReadConsistency(parameter: value)
            }
        }
        if isBase64 {
            start = try Self.decoded("start", start)
            end = try Self.decoded("end", end)
        } else if let ambiguous {
            throw .malformed(
                "parameter \"\(ambiguous)\" has a bare \"+\", which some clients write for a space, expected %2B for a "
                    + "plus or %20 for a space (or encoding=base64)")
        }
        try Self.check("start", start)
        try Self.check("end", end)
    }

    func query(_ limits: GatewayLimits) -> Query {
        .range(
            start: start, end: end, limit: limit ?? min(limits.defaultRangeLimit, limits.maxRangeLimit),
            maxBytes: limits.maxRangeBytes)
    }

    /// Appends the relative URL of the page that starts at `next`, with everything else as it was asked.
    func writeNextPath(from next: [UInt8], into buffer: inout ByteBuffer) {
        buffer.writeStaticString("/kv/range?start=")
        Base64.encodeForURL(next.span, into: &buffer)
        if !end.isEmpty {
            buffer.writeStaticString("&end=")
            Base64.encodeForURL(end.span, into: &buffer)
        }
        if let limit {
            buffer.writeStaticString("&limit=")
            buffer.writeString(String(limit))
        }
        if let consistency {
            buffer.writeStaticString("&consistency=")
            buffer.writeString(consistency.rawValue)
        }
        buffer.writeStaticString("&encoding=base64")
    }

    static func checkedLimit(_ limit: Int, _ limits: GatewayLimits) throws(HTTPFailure) -> Int {
        guard limit >= 1 else {
            throw .malformed("\"limit\" is \(limit), expected 1 to \(limits.maxRangeLimit)")
        }
        guard limit <= limits.maxRangeLimit else {
            throw .tooLarge(
                "\"limit\" asks for more items than a range may have", limit: limits.maxRangeLimit,
                flag: "-max-range-limit")
        }
        return limit
    }

    private static func decoded(_ name: String, _ text: [UInt8]) throws(HTTPFailure) -> [UInt8] {
        do {
            return try Base64.decode(text.span, .either)
        } catch {
            throw .malformed("parameter \"\(name)\" is not Base64, as encoding=base64 says: \(error.sentence)")
        }
    }

    private static func check(_ name: String, _ key: [UInt8]) throws(HTTPFailure) {
        guard key.count <= GatewayLimits.maxReadKeyBytes else {
            throw .tooLarge(
                "parameter \"\(name)\" is \(key.count) bytes", limit: GatewayLimits.maxReadKeyBytes,
                flag: GatewayLimits.readKeyFlag)
        }
    }
}

extension ReadConsistency {
    init(parameter value: [UInt8]) throws(HTTPFailure) {
        guard let known = ReadConsistency(rawValue: String(decoding: value, as: UTF8.self)) else {
            let expected = ReadConsistency.allCases.map(\.rawValue).joined(separator: " or ")
            throw .malformed("parameter \"consistency\" is unknown, expected \(expected)")
        }
        self = known
    }
}
