import NIOCore

/// Strings on the wire and in configurations: a two-byte length and that many bytes of UTF-8 without control
/// characters, so that they can stand in log lines and headers.
extension ByteBuffer {
    mutating func writeWireString(_ string: String) {
        writeInteger(UInt16(string.utf8.count))
        writeString(string)
    }

    mutating func readWireString(_ field: String, limit: Int) throws(WireError) -> String {
        guard let length = readInteger(as: UInt16.self) else { throw .truncated(field) }
        guard length <= limit else { throw .tooLarge(field: field, value: UInt64(length), limit: UInt64(limit)) }
        guard let bytes = readSlice(length: Int(length)) else { throw .truncated(field) }
        guard let string = String(validating: bytes.readableBytesView, as: UTF8.self) else {
            throw .invalid("\(field) is not UTF-8")
        }
        guard string.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
            throw .invalid("\(field) has control characters")
        }
        return string
    }

    mutating func writeRandomID(_ id: RandomID) {
        writeMultipleIntegers(id.high, id.low)
    }
}
