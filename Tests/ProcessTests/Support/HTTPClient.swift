import Foundation
import Glibc

/// What a node answered. A plain value.
struct HTTPAnswer {
    let status: Int
    /// Names in lower case.
    let headers: [String: String]
    let body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }

    func json() throws -> AnswerBody {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(AnswerBody.self, from: Data(body))
    }
}

/// All fields that the API's answers have.
struct AnswerBody: Decodable {
    struct Item: Decodable, Equatable {
        let key: String
        let value: String
    }

    struct Member: Decodable {
        let nodeId: String
        let address: String
        let role: String
        let leads: Bool
        let lastContactMs: Int?
        let matchIndex: UInt64?

        var port: Int? { address.split(separator: ":").last.flatMap { Int($0) } }
    }

    let success: Bool?
    let error: String?
    let message: String?
    let outcome: String?
    let value: String?
    let version: UInt64?
    let index: UInt64?
    let count: Int?
    let items: [Item]?
    let more: Bool?
    let nextPath: String?
    // /cluster/status, /cluster/members and /health
    let replication: Bool?
    let isLeader: Bool?
    let term: UInt64?
    let nodeId: String?
    let role: String?
    let mode: String?
    let status: String?
    let memtableSize: UInt64?
    let walSize: UInt64?
    let sstableCount: UInt64?
    let firstIndex: UInt64?
    let lastIndex: UInt64?
    let commitIndex: UInt64?
    let incomingSnapshotPercent: Int?
    let members: [Member]?
}

enum HTTPClientError: Error {
    /// Nobody was reached: a request surely had no effect.
    case notConnected
    /// The connection broke or stayed silent after the request went out.
    case noAnswer
    case malformed(String)
}

/// A keep-alive connection to one node; blocks, for one thread.
final class HTTPClient {
    private let host: String
    private let port: Int
    private let timeout: Int
    private var descriptor: Int32 = -1
    private var received: [UInt8] = []

    /// - Parameter host: an IPv4 address.
    init(host: String = "127.0.0.1", port: Int, timeout: Int = 8) {
        self.host = host
        self.port = port
        self.timeout = timeout
    }

    deinit {
        disconnect()
    }

    func request(_ method: String, _ target: String, body: String? = nil) throws -> HTTPAnswer {
        // A request is not sent on a connection that the node has closed: it would be lost, and nobody knew.
        if descriptor >= 0, isClosedByPeer { disconnect() }
        if descriptor < 0 { try connect() }
        do {
            var head = "\(method) \(target) HTTP/1.1\r\nHost: \(host):\(port)\r\n"
            if let body { head += "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n" }
            try send(Array((head + "\r\n" + (body ?? "")).utf8))
            let answer = try receive()
            if answer.headers["connection"]?.lowercased() == "close" { disconnect() }
            return answer
        } catch {
            disconnect()
            throw error
        }
    }

    private func connect() throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        precondition(descriptor >= 0, "cannot open a socket")
        var limit = timeval(tv_sec: timeout, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        var yes: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        inet_pton(AF_INET, host, &address.sin_addr)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if status != 0 {
            disconnect()
            throw HTTPClientError.notConnected
        }
    }

    private var isClosedByPeer: Bool {
        var byte: UInt8 = 0
        let count = recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
        return count == 0 || count < 0 && errno != EAGAIN
    }

    private func disconnect() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        received = []
    }

    private func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw HTTPClientError.noAnswer }
            rest = rest.dropFirst(count)
        }
    }

    private func receive() throws -> HTTPAnswer {
        let end = Array("\r\n\r\n".utf8)
        var headEnd: Int?
        while headEnd == nil {
            headEnd = received.indices.first { received[$0...].starts(with: end) }
            if headEnd == nil { try receiveMore() }
        }
        let lines = String(decoding: received[..<headEnd!], as: UTF8.self).components(separatedBy: "\r\n")
        guard let status = lines[0].split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
            throw HTTPClientError.malformed(lines[0])
        }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { throw HTTPClientError.malformed(line) }
            headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces)
        }
        guard let length = headers["content-length"].flatMap({ Int($0) }) else {
            throw HTTPClientError.malformed("no Content-Length")
        }
        let start = headEnd! + end.count
        while received.count < start + length { try receiveMore() }
        let body = Array(received[start..<start + length])
        received.removeFirst(start + length)
        return HTTPAnswer(status: status, headers: headers, body: body)
    }

    private func receiveMore() throws {
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count > 0 else { throw HTTPClientError.noAnswer }
        received.append(contentsOf: chunk[..<count])
    }
}

extension String {
    /// Standard Base64, for JSON.
    var base64: String { Data(utf8).base64EncodedString() }

    /// URL-safe Base64 without padding, for a path.
    var pathKey: String {
        base64.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    /// The text that standard Base64 stands for.
    var base64Decoded: String? { Data(base64Encoded: self).map { String(decoding: $0, as: UTF8.self) } }
}
