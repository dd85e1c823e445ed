import Foundation
import Glibc

/// A blocking HTTP client over a plain socket, which sends exactly the bytes it is given.
///
/// `@unchecked Sendable`: one thread at a time sends, one receives; only the receiving one touches the variables.
final class TestClient: @unchecked Sendable {
    struct Response {
        var status = 0
        var head = ""
        var headers: [String: String] = [:]
        var body: [UInt8] = []

        var text: String { String(decoding: body, as: UTF8.self) }

        /// The body as a JSON object; every answer has one.
        var json: [String: Any] {
            (try? JSONSerialization.jsonObject(with: Data(body))) as? [String: Any] ?? [:]
        }

        var error: String { json["error"] as? String ?? "" }
        var outcome: String? { json["outcome"] as? String }
    }

    private let descriptor: Int32
    private var received: [UInt8] = []
    private(set) var isClosed = false

    init(port: Int, receiveBuffer: Int32? = nil) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var size = receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        var timeout = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        precondition(result == 0, "connect: \(errno)")
    }

    /// Whether the connection ends with a reset, not with a goodbye.
    var resetsOnClose = false

    deinit {
        var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
        if resetsOnClose {
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
        }
        Glibc.close(descriptor)
    }

    /// False if the server had closed before all was sent.
    @discardableResult
    func send(_ bytes: some Collection<UInt8>) -> Bool {
        let bytes = Array(bytes)
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    @discardableResult
    func send(_ text: String) -> Bool {
        send(text.utf8)
    }

    func closeOutput() {
        shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Sends one request with a body, the headers that it needs, and `headers`, and reads the answer.
    func request(
        _ method: String, _ target: String, _ body: String? = nil, headers: [String] = [],
        contentType: String? = "application/json"
    ) -> Response? {
        var text = "\(method) \(target) HTTP/1.1\r\nHost: test\r\n"
        for header in headers { text += header + "\r\n" }
        if let body {
            if let contentType { text += "Content-Type: \(contentType)\r\n" }
            text += "Content-Length: \(body.utf8.count)\r\n"
            text += "\r\n" + body
        } else {
            text += "\r\n"
        }
        guard send(text) else { return nil }
        return response(toHead: method == "HEAD")
    }

    /// The next response, or nil when the server has closed.
    func response(toHead: Bool = false) -> Response? {
        guard let head = receive(through: Array("\r\n\r\n".utf8)) else { return nil }
        var response = Response()
        response.head = String(decoding: head, as: UTF8.self)
        let lines = response.head.components(separatedBy: "\r\n")
        let parts = lines[0].split(separator: " ")
        precondition(parts.count >= 3 && parts[0] == "HTTP/1.1", "status line: \(lines[0])")
        response.status = Int(parts[1])!
        for line in lines.dropFirst() where !line.isEmpty {
            let colon = line.firstIndex(of: ":")!
            let name = line[..<colon].lowercased()
            precondition(response.headers[name] == nil, "\(name) twice")
            response.headers[name] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        guard response.status != 100, !toHead else { return response }
        guard let length = Int(response.headers["content-length"] ?? "") else { return nil }
        while received.count < length {
            guard receiveMore() else { return nil }
        }
        response.body = Array(received.prefix(length))
        received.removeFirst(length)
        return response
    }

    /// As `response()`, by a client that takes 64 KiB, then pauses.
    func slowResponse(pause: Duration) async -> Response? {
        while !hasResponse {
            guard receiveMore() else { return nil }
            try? await Task.sleep(for: pause)
        }
        return response()
    }

    /// Whether a whole response was received.
    private var hasResponse: Bool {
        guard let head = received.firstRange(of: Array("\r\n\r\n".utf8)) else { return false }
        let text = String(decoding: received[..<head.lowerBound], as: UTF8.self).lowercased()
        guard let field = text.firstRange(of: "content-length: "),
            let length = Int(text[field.upperBound...].prefix { $0.isNumber })
        else { return false }
        return received.count - head.upperBound >= length
    }

    /// Whether the server closes, with nothing more to read.
    func seesEnd() -> Bool {
        while receiveMore() {}
        return isClosed && received.isEmpty
    }

    private func receive(through mark: [UInt8]) -> [UInt8]? {
        while true {
            if let range = received.firstRange(of: mark) {
                let head = Array(received[..<range.upperBound])
                received.removeFirst(range.upperBound)
                return head
            }
            guard receiveMore() else { return nil }
        }
    }

    private func receiveMore() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
        if count == 0 || (count < 0 && errno == ECONNRESET) { isClosed = true }
        guard count > 0 else { return false }
        received += buffer[..<count]
        return true
    }
}
