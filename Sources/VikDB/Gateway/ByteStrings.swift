import NIOCore

/// Decoded keys or values of one request, end to end in one array: one allocation for a batch, not one for each.
struct ByteStrings {
    private(set) var bytes: [UInt8] = []
    private var ends: [Int] = []

    var count: Int { ends.count }

    subscript(place: Int) -> ArraySlice<UInt8> {
        bytes[(place == 0 ? 0 : ends[place - 1])..<ends[place]]
    }

    /// Appends what a JSON string of standard Base64 stands for. `maxBytes` is the limit of one string, `flag` its
    /// flag; `name` is the string's name in messages.
    mutating func append(
        _ token: JSONReader.Token, _ reader: JSONReader, _ body: Span<UInt8>, maxBytes: Int, flag: String,
        name: @autoclosure () -> String
    ) throws(HTTPFailure) {
        if token.hasEscapes {
            let text = try reader.unescaped(token, body)
            try append(text.span, maxBytes, flag, name)
        } else {
            try append(body.extracting(token.range), maxBytes, flag, name)
        }
    }

    private mutating func append(
        _ text: Span<UInt8>, _ maxBytes: Int, _ flag: String, _ name: () -> String
    ) throws(HTTPFailure) {
        // Four characters are three bytes: too large is said before anything is allocated for it.
        let count = text.count / 4 * 3
        guard count <= maxBytes + 2 else {
            throw .tooLarge("\(name()) is some \(count) bytes", limit: maxBytes, flag: flag)
        }
        let start = bytes.count
        do throws(Base64.Failure) {
            try bytes.append(addingCapacity: count) { output throws(Base64.Failure) in
                try Base64.decode(text, .standard, into: &output)
            }
        } catch {
            throw .malformed("\(name()) is not standard Base64: \(error.sentence)")
        }
        guard bytes.count - start <= maxBytes else {
            throw .tooLarge("\(name()) is \(bytes.count - start) bytes", limit: maxBytes, flag: flag)
        }
        ends.append(bytes.count)
    }
}
