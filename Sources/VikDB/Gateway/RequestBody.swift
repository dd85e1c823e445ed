import NIOCore
import VikWire

/// The bodies of requests, turned into what the node takes: a ``Command``, encoded once, or a range.
package enum RequestBody {
    /// `{"value": "<base64>"}`
    package static func put(key: [UInt8], _ body: ByteBuffer, _ limits: GatewayLimits) throws(HTTPFailure) -> ByteBuffer
    {
        let bytes = body.readableBytesUInt8Span
        try refuseEmpty(bytes, expected: #"{"value": "<base64>"}"#)
        var reader = JSONReader()
        var seen: UInt8 = 0
        var value = ByteStrings()
        try reader.beginObject(bytes)
        while try reader.nextField(of: ["value"], seen: &seen, in: bytes) != nil {
            let token = try reader.readString(bytes)
            try value.append(
                token, reader, bytes, maxBytes: limits.maxValueBytes, flag: "-max-value-bytes", name: "\"value\"")
        }
        try reader.end(bytes)
        guard value.count == 1 else {
            throw .malformed(#""value" is missing, expected {"value": "<base64>"}"#)
        }
        return Command.put(key: key, value: value.bytes)
    }

    /// `{"keys": ["<base64>", …], "values": ["<base64>", …]}`; the number of pairs and their command.
    package static func batch(
        _ body: ByteBuffer, _ limits: GatewayLimits
    ) throws(HTTPFailure) -> (count: Int, command: ByteBuffer) {
        let bytes = body.readableBytesUInt8Span
        let expected = #"{"keys": ["<base64>", …], "values": ["<base64>", …]}"#
        try refuseEmpty(bytes, expected: expected)
        var reader = JSONReader()
        var seen: UInt8 = 0
        var keys = ByteStrings()
        var values = ByteStrings()
        try reader.beginObject(bytes)
        while let field = try reader.nextField(of: ["keys", "values"], seen: &seen, in: bytes) {
            if field == 0 {
                try readArray(
                    "keys", into: &keys, otherBytes: values.bytes.count, &reader, bytes, limits,
                    maxBytes: limits.maxKeyBytes, flag: "-max-key-bytes")
            } else {
                try readArray(
                    "values", into: &values, otherBytes: keys.bytes.count, &reader, bytes, limits,
                    maxBytes: limits.maxValueBytes, flag: "-max-value-bytes")
            }
        }
        try reader.end(bytes)
        guard seen == 0b11 else {
            throw .malformed("\"\(seen & 1 == 0 ? "keys" : "values")\" is missing, expected \(expected)")
        }
        guard keys.count == values.count else {
            throw .malformed(
                "\"keys\" has \(keys.count) elements and \"values\" \(values.count), expected as many of each")
        }
        guard keys.count > 0 else {
            throw .malformed("\"keys\" is empty, expected 1 to \(limits.maxBatchPairs) keys")
        }
        return (keys.count, command(keys, values))
    }

    /// `{"start_key": "<base64>", "end_key": "<base64>", "limit": N}`, each of them optional.
    package static func range(
        _ body: ByteBuffer, consistency: ReadConsistency?, _ limits: GatewayLimits
    ) throws(HTTPFailure) -> RangeRequest {
        let bytes = body.readableBytesUInt8Span
        try refuseEmpty(bytes, expected: #"{"start_key": "<base64>", "end_key": "<base64>"}"#)
        var reader = JSONReader()
        var seen: UInt8 = 0
        var start = ByteStrings()
        var end = ByteStrings()
        var limit: Int?
        try reader.beginObject(bytes)
        while let field = try reader.nextField(of: ["start_key", "end_key", "limit"], seen: &seen, in: bytes) {
            switch field {
            case 0:
                let token = try reader.readString(bytes)
                try start.append(
                    token, reader, bytes, maxBytes: GatewayLimits.maxReadKeyBytes, flag: GatewayLimits.readKeyFlag,
                    name: "\"start_key\"")
            case 1:
                let token = try reader.readString(bytes)
                try end.append(
                    token, reader, bytes, maxBytes: GatewayLimits.maxReadKeyBytes, flag: GatewayLimits.readKeyFlag,
                    name: "\"end_key\"")
            default:
                limit = try RangeRequest.checkedLimit(reader.readNumber(bytes), limits)
            }
        }
        try reader.end(bytes)
        return RangeRequest(start: start.bytes, end: end.bytes, limit: limit, consistency: consistency)
    }

    private static func refuseEmpty(_ body: Span<UInt8>, expected: String) throws(HTTPFailure) {
        guard body.isEmpty else { return }
        throw .malformed("the body is empty, expected \(expected)")
    }

    private static func readArray(
        _ field: String, into strings: inout ByteStrings, otherBytes: Int, _ reader: inout JSONReader,
        _ bytes: Span<UInt8>, _ limits: GatewayLimits, maxBytes: Int, flag: String
    ) throws(HTTPFailure) {
        try reader.beginArray(bytes)
        while try reader.nextElement(after: strings.count, in: bytes) {
            guard strings.count < limits.maxBatchPairs else {
                throw .tooLarge(
                    "\"\(field)\" has more elements than a batch may", limit: limits.maxBatchPairs,
                    flag: "-max-batch-pairs")
            }
            let place = strings.count
            let token = try reader.readString(bytes)
            try strings.append(
                token, reader, bytes, maxBytes: maxBytes, flag: flag, name: "\"\(field)\"[\(place)]")
            guard field == "values" || !strings[place].isEmpty else {
                throw .malformed("\"keys\"[\(place)] is empty, expected 1 to \(limits.maxKeyBytes) bytes")
            }
            guard strings.bytes.count + otherBytes <= limits.maxBatchBytes else {
                throw .tooLarge(
                    "the batch has more bytes of keys and values than it may", limit: limits.maxBatchBytes,
                    flag: "-max-batch-bytes")
            }
        }
    }

    private static func command(_ keys: ByteStrings, _ values: ByteStrings) -> ByteBuffer {
        var command = ByteBuffer()
        command.reserveCapacity(
            Command.headerBytes + keys.count * Command.operationHeaderBytes + keys.bytes.count + values.bytes.count)
        Command.writeHeader(operationCount: keys.count, into: &command)
        for place in 0..<keys.count {
            let (key, value) = (keys[place], values[place])
            Command.writePut(key: key.span.bytes, value: value.span.bytes, into: &command)
        }
        return command
    }
}
