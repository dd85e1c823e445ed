import NIOCore

/// What a response does to its connection, and whether its body is left out.
struct ResponseFraming: Equatable {
    enum Connection {
        /// HTTP/1.1 keeps a connection without a word.
        case keep
        /// HTTP/1.0 must be told.
        case keepAlive
        case close
    }

    var connection = Connection.keep
    /// The answer to a HEAD: all of the head, with the length of the body that a GET would have had.
    var omitsBody = false
}

/// A response under construction, in one buffer: the body is written first, behind room for the head, which is put in
/// front once the length is known. Bound to an event loop.
///
/// NIOHTTP1's encoder takes a head, a body and an end, each through the whole pipeline, and an array of header fields;
/// the few fields that VikDB sends need none of it.
struct Response {
    var status: HTTPStatus
    var allow: StaticAllow?
    var location: String?
    var retriesSoon = false
    /// The body is lines of text instead of JSON.
    var isText = false
    /// The body, as the readable bytes.
    var body: ByteBuffer

    /// Head without `Location`: the longest start of a head, ``CommonFields``, `Allow`, `Connection` and the rest, which
    /// are 251 bytes together.
    private static let headRoom = 256

    init(_ status: HTTPStatus, bodyCapacity: Int = 128, location: String? = nil) {
        self.status = status
        self.location = location
        let room = Self.headRoom + (location.map { $0.utf8.count + 16 } ?? 0)
        body = ByteBufferAllocator().buffer(capacity: room + bodyCapacity)
        body.moveWriterIndex(forwardBy: room)
        body.moveReaderIndex(forwardBy: room)
    }

    /// Head and body as they go to the wire.
    consuming func encoded(_ framing: ResponseFraming, _ common: CommonFields) -> ByteBuffer {
        let length = body.readableBytes
        prepend("\r\n\r\n")
        prepend(String(length))
        prepend("Content-Length: ")
        if let location {
            prepend("\r\n")
            prepend(location)
            prepend("Location: ")
        }
        if let allow {
            prepend("\r\n")
            prepend(allow.rawValue)
            prepend("Allow: ")
        }
        if retriesSoon { prepend("Retry-After: 1\r\n") }
        switch framing.connection {
        case .keep: break
        case .keepAlive: prepend("Connection: keep-alive\r\n")
        case .close: prepend("Connection: close\r\n")
        }
        prepend(common.bytes)
        prepend(isText ? status.startOfTextHead : status.startOfHead)
        if framing.omitsBody { body.moveWriterIndex(to: body.writerIndex - length) }
        return body
    }

    private mutating func prepend(_ text: StaticString) {
        let start = body.readerIndex - text.utf8CodeUnitCount
        _ = body.setStaticString(text, at: start)
        body.moveReaderIndex(to: start)
    }

    private mutating func prepend(_ bytes: [UInt8]) {
        let start = body.readerIndex - bytes.count
        body.setBytes(bytes, at: start)
        body.moveReaderIndex(to: start)
    }

    private mutating func prepend(_ text: String) {
        let start = body.readerIndex - text.utf8.count
        body.setString(text, at: start)
        body.moveReaderIndex(to: start)
    }
}
