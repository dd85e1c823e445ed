import NIOCore
import NIOHTTP1
import VikWire

/// One client's connection to the HTTP API: one request at a time. Bound to the clients' loop, the last handler of its
/// channel.
final class HTTPConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    struct Response {
        var status: HTTPResponseStatus
        var location: String?
        var body = ByteBuffer()
    }

    enum Event {
        case response(Response)
        /// The connection has ended; nothing follows.
        case closed(reason: String)
    }

    let address: HostPort
    private let onEvent: (HTTPConnection, Event) -> Void
    private var context: ChannelHandlerContext?
    private var response: Response?
    private var willClose = false
    private var failure: String?

    /// The largest value in Base64, and some more.
    private static let maxBodyBytes = 2 << 20

    init(address: HostPort, onEvent: @escaping (HTTPConnection, Event) -> Void) {
        self.address = address
        self.onEvent = onEvent
    }

    /// Whether another request can be sent.
    var isUsable: Bool { context != nil && !willClose }

    func send(_ method: HTTPMethod, _ path: String, body: ByteBuffer?) {
        guard let context else { return }
        var head = HTTPRequestHead(version: .http1_1, method: method, uri: path)
        head.headers.reserveCapacity(3)
        head.headers.add(name: "Host", value: address.description)
        if let body {
            head.headers.add(name: "Content-Type", value: "application/json")
            head.headers.add(name: "Content-Length", value: String(body.readableBytes))
        }
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if let body { context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func close() {
        context?.close(promise: nil)
    }

    // MARK: ChannelInboundHandler

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            response = Response(status: head.status, location: head.headers.first(name: "Location"))
            willClose = !head.isKeepAlive
        case .body(let part):
            guard let count = response?.body.readableBytes, count + part.readableBytes <= Self.maxBodyBytes else {
                fail("an answer has more than \(Self.maxBodyBytes) bytes", context)
                return
            }
            response?.body.writeImmutableBuffer(part)
        case .end:
            guard let response else { return }
            self.response = nil
            onEvent(self, .response(response))
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail("\(error)", context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        onEvent(self, .closed(reason: failure ?? "\(address) closed the connection"))
    }

    private func fail(_ reason: String, _ context: ChannelHandlerContext) {
        failure = failure ?? reason
        context.close(promise: nil)
    }
}
