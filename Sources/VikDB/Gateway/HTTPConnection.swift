import NIOCore
import NIOHTTP1
import VikWire

/// One client's connection: takes the parts of requests from NIO's parser, hands one request at a time to the node, and
/// writes the answers. With ``RequestDecoder`` the only file that knows the HTTP server. Bound to its event loop.
///
/// Requests that arrive while one is in progress wait in a queue, and nothing more is read until it is empty. A
/// response goes out as one buffer, so the pipeline has no encoder.
final class HTTPConnection: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Between requests.
        case idle
        /// The body of `request` is arriving.
        case receiving
        /// The node has `request`.
        case waiting
        /// Answered before the body was read; the rest of it is thrown away.
        case discarding
        /// The last answer is out; what still arrives is thrown away until the client closes, so that a reset does not
        /// overtake the answer.
        case lingering
    }

    /// The request in progress.
    private struct Request {
        /// Nil until the head has been found good.
        var route: Route?
        var target = ""
        var host = ""
        var framing: ResponseFraming
        /// Whether the client waits for a 100 before it sends the body.
        var awaitsContinue = false
        var batchCount = 0
    }

    private let loop: GatewayLoop
    private let decoder: RequestDecoder
    private var slot: Int?
    /// In the reserve of the node's connections: for a probe, or an operator.
    private var isReserved = false
    private var context: ChannelHandlerContext?

    private var state = State.idle
    private var request: Request?
    private var body: ByteBuffer?
    /// What of `body` counts on the loop.
    private var collectedBytes = 0
    private var discardedBytes = 0

    private var queue = CircularBuffer<HTTPServerRequestPart>()
    /// What the parser refused; answered after the requests before it.
    private var brokenFraming: HTTPFailure?
    /// The parser stops behind the request that is arriving.
    private var stopsParser = false
    private var hasParserFailed = false
    private var inputIsClosed = false
    private var outputIsFlushed = false
    private var readIsHeld = false
    private var needsFlush = false
    /// In ticks of the loop; nil: none.
    private var deadline: UInt64?
    /// When what is being transferred is cut off, whatever its rate.
    private var transferEnd: UInt64 = 0
    /// Bytes of bodies that have come, bytes of answers that were written, and how much of what is being transferred had
    /// moved when the window began that ends with `deadline`.
    private var receivedBytes = 0
    private var writtenBytes = 0
    private var movedAtWindow = 0
    /// The client has yet to send the rest of a body that was answered already.
    private var isBodyDue = false
    private var isTooSlow = false

    init(loop: GatewayLoop, decoder: RequestDecoder) {
        self.loop = loop
        self.decoder = decoder
    }

    /// The handlers of a connection, in order.
    static func configure(_ channel: any NIOCore.Channel, loop: GatewayLoop) throws {
        let decoder = RequestDecoder()
        try channel.pipeline.syncOperations.addHandlers([
            ByteToMessageHandler(decoder, maximumBufferSize: GatewayOptions.maxUnparsedBytes),
            HTTPConnection(loop: loop, decoder: decoder),
        ])
    }

    // MARK: Called by the loop

    /// The node's reply to the request in progress.
    func complete(_ outcome: Reply.Outcome) {
        guard state == .waiting, let request, let route = request.route else {
            preconditionFailure("a reply has the token of the request in progress")
        }
        switch (outcome, route) {
        case (.written(let version, _), .put): answer(.putDone(version: version))
        case (.written(let version, _), .delete): answer(.deleteDone(version: version))
        case (.written(let version, _), .batch): answer(.batchDone(count: request.batchCount, version: version))
        case (.answered, _) where !loop.mayAnswer:
            answer(.tryAgain(.tooManyRequests, "too many answers are waiting to be read by their clients"))
        case (.answered(.value(let value?), let index), .get): answer(.value(value, index: index))
        case (.answered(.value(nil), _), .get): answer(HTTPFailure(.notFound, "key not found"))
        case (.answered(.page(let page), let index), .range(let range)):
            answer(.page(page, of: range, index: index))
        case (.answered(.stateHash(let hash), let index), .stateHash): answer(.stateHash(hash, index: index))
        case (.administered(let index), _): answer(.administered(index: index))
        case (.notAdministered(let refusal), _):
            answer(
                .admin(refused: refusal, at: loop.options.adminAccess) { redirection(to: $0, of: request) })
        case (.unknown(let reason), .admin): answer(.admin(unknown: reason))
        case (.notApplied(let refusal), _):
            answer(.write(refused: refusal) { redirection(to: $0, of: request) })
        case (.unknown(let reason), _): answer(.write(unknown: reason))
        case (.notAnswered(let refusal), _): answer(.read(refused: refusal))
        default: preconditionFailure("the node replied to another kind of request")
        }
        resume()
    }

    func checkDeadline() {
        guard let deadline, loop.now >= deadline else { return }
        if state == .waiting { return stopWaiting() }
        let isTransfer = state != .idle || context?.channel.isWritable == false
        if isTransfer, !(state == .lingering && loop.isStopping), keepsRate {
            return beginWindow(loop.options.transferWindow)
        }
        switch state {
        case .receiving:
            var failure = HTTPFailure(
                .requestTimeout,
                "the body did not arrive in time, expected at least \(GatewayOptions.minTransferRate) bytes a second")
            failure.closes = true
            isTooSlow = true
            answer(failure)
            resume()
        case .idle where isReserved && !isTransfer:
            answer(.tooManyConnections(loop.budget.maxConnections))
            flush()
        default:
            close()
        }
    }

    /// The node has not replied, and may hang.
    private func stopWaiting() {
        guard let slot, let route = request?.route else { return close() }
        loop.voidToken(slot: slot)
        answer(.unanswered(route))
        resume()
    }

    /// Finishes the request in progress, if there is one.
    func stop() {
        if state == .lingering, let deadline {
            self.deadline = min(deadline, loop.deadline(after: loop.options.lingerTimeout))
        }
        guard state == .idle, queue.isEmpty else { return }
        linger()
    }

    /// Whatever else it does, a client whose machine acknowledges no answer any more is gone.
    func checkAcknowledgements() {
        guard let context else { return }
        ClientSocket.ifUnacknowledged(context.channel, repeated: loop.options.maxRepetitions) { [self] in close() }
    }

    func close() {
        guard let context else { return }
        ClientSocket.letKernelGiveUp(context.channel)
        context.close(promise: nil)
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        switch loop.admit(self) {
        case .admitted(let slot):
            self.slot = slot
            deadline = loop.deadline(after: loop.options.headerTimeout)
        case .reserved(let slot):
            self.slot = slot
            isReserved = true
            deadline = loop.deadline(after: loop.options.reservedHeadTimeout)
        case .dropped:
            break
        }
    }

    func channelActive(context: ChannelHandlerContext) {
        if slot == nil { return close() }
        resume()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        _ = takeBody()
        if let slot { loop.remove(slot: slot) }
        slot = nil
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        // The parser was thought to have stopped: what it makes of these bytes may not be what the client means.
        guard !decoder.isRestartDue else { return close() }
        if case .head(let head) = part { stopsParser = UpgradeWish(head.headers) == .stopsParser }
        if case .end = part, stopsParser { decoder.restart() }
        if canProceed, queue.isEmpty {
            handle(part)
        } else if queue.count < GatewayOptions.maxQueuedParts {
            queue.append(part)
        } else {
            close()
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
    }

    /// Reading goes on while the node has a request, unless the client sends more before it has an answer: a client
    /// that waits for answers costs no change of the selector.
    func read(context: ChannelHandlerContext) {
        if queue.isEmpty || state == .lingering {
            context.read()
        } else {
            readIsHeld = true
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        guard state == .idle else { return }
        beginIdleTime()
        if context.channel.isWritable { resume() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? ChannelEvent, event == .inputClosed else { return }
        inputIsClosed = true
        resume()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case HTTPParserError.headerOverflow: brokenFraming = .headersTooLarge
        case let error as HTTPParserError: brokenFraming = .badFraming(Self.sentence(for: error))
        case is ByteToMessageDecoderError: return  // Bytes after the error that is being answered.
        default: return close()
        }
        hasParserFailed = true
        resume()
    }

    // MARK: Requests

    private var canProceed: Bool {
        state != .waiting && (state != .idle || context?.channel.isWritable == true)
    }

    /// Takes up what has waited.
    private func resume() {
        while canProceed, let part = queue.popFirst() { handle(part) }
        settle()
        flush()
        if readIsHeld, queue.isEmpty {
            readIsHeld = false
            context?.read()
        }
    }

    /// After the last request that was well-framed: what the parser refused, or the client's goodbye.
    private func settle() {
        guard queue.isEmpty, state != .waiting else { return }
        if state == .lingering {
            if inputIsClosed, outputIsFlushed { close() }
        } else if let failure = brokenFraming {
            brokenFraming = nil
            if state == .discarding { linger() } else { answer(failure) }
        } else if inputIsClosed {
            linger()
        }
    }

    private func handle(_ part: HTTPServerRequestPart) {
        switch (part, state) {
        case (.head(let head), .idle): begin(head)
        case (.body(let bytes), .receiving): receive(bytes)
        case (.end, .receiving): perform()
        case (.end, .discarding): becomeIdle()
        case (.body(let bytes), .discarding), (.body(let bytes), .lingering): discard(bytes.readableBytes)
        case (.end, .lingering):
            if isBodyDue, outputIsFlushed { deadline = loop.deadline(after: loop.options.lingerTimeout) }
            isBodyDue = false
        case (.head, .lingering): break
        default: preconditionFailure("NIO's parser gives head, body and end in order, one request after another")
        }
    }

    /// Decides from the head alone whatever can be decided: redirects, refusals, and what `Expect` is answered.
    private func begin(_ head: HTTPRequestHead) {
        let isHTTP10 = head.version.minor == 0
        var framing = ResponseFraming(omitsBody: head.method == .HEAD)
        framing.connection = head.isKeepAlive ? (isHTTP10 ? .keepAlive : .keep) : .close
        if isReserved {
            // There may be room again; else the next one needs the place.
            isReserved = loop.budget.isExceeded
            if isReserved { framing.connection = .close }
        }
        state = .receiving
        beginTransfer(loop.options.bodyTimeout)
        discardedBytes = 0
        request = Request(framing: framing)
        do throws(HTTPFailure) {
            let fields = try RequestFields(head.headers, isHTTP10: isHTTP10)
            // No tunnel is opened either, but a client that did not wait for the answer is speaking into it.
            if head.method == .CONNECT || fields.asksUpgrade && UpgradeWish(head.headers) == .unclear {
                request?.framing.connection = .close
            }
            request?.awaitsContinue = fields.expectsContinue && fields.hasBody
            let target = try Route.originForm(head.uri)
            let route = try Route(RequestMethod(head.method), target, loop.options.limits)
            request?.route = route
            request?.target = target
            request?.host = fields.host
            guard !isReserved || loop.isAdmin || route.isProbe else {
                throw HTTPFailure.tooManyConnections(loop.budget.maxConnections)
            }
            if !mayAdminister,
                let failure = route.failureForOthers(
                    loop.options.adminAccess, knowsLeader: loop.status.leaderID != nil)
            {
                throw failure
            }
            if route.isWrite {
                let request = LeaderRedirect.Request(target: target, host: fields.host)
                let status = loop.service.status
                if let failure = loop.redirect.failure(status: status, request) {
                    warn(of: failure, leader: status.leaderAPIAddress)
                    throw failure
                }
                if let failure = route.refusal(loop.options.limits) { throw failure }
            }
            if let limit = route.bodyLimit(loop.options.limits) {
                guard !fields.isUnsupportedMedia else {
                    throw HTTPFailure(.unsupportedMediaType, "the body is not plain JSON, expected application/json")
                }
                guard fields.contentLength ?? 0 <= limit.bytes else { throw limit.failure }
            } else if fields.contentLength ?? 0 > GatewayOptions.maxDiscardedBytes {
                throw .bodyWithoutUse
            }
            if request?.awaitsContinue == true {
                request?.awaitsContinue = false
                write(ByteBuffer(staticString: "HTTP/1.1 100 Continue\r\n\r\n"))
            }
        } catch {
            answer(error)
        }
    }

    private func receive(_ bytes: ByteBuffer) {
        receivedBytes += bytes.readableBytes
        guard let limit = request?.route?.bodyLimit(loop.options.limits) else {
            discardedBytes += bytes.readableBytes
            if discardedBytes > GatewayOptions.maxDiscardedBytes { answer(.bodyWithoutUse) }
            return
        }
        guard collectedBytes + bytes.readableBytes <= limit.bytes else { return answer(limit.failure) }
        guard loop.collect(bytes.readableBytes) else {
            return answer(.tryAgain(.tooManyRequests, "the node has as many bodies arriving as it may, try again"))
        }
        collectedBytes += bytes.readableBytes
        if body == nil {
            body = bytes
        } else {
            body?.writeImmutableBuffer(bytes)
        }
    }

    /// After the answer.
    private func discard(_ count: Int) {
        receivedBytes += count
        discardedBytes += count
        if discardedBytes > GatewayOptions.maxDiscardedBytes { close() }
    }

    /// The request is complete: answers it, or hands it to the node.
    private func perform() {
        guard let route = request?.route, let slot else { preconditionFailure("a request was routed at its head") }
        state = .waiting
        deadline = loop.deadline(
            after: route.readsEverything ? loop.options.longAnswerTimeout : loop.options.answerTimeout)
        let body = takeBody()
        let limits = loop.options.limits
        do throws(HTTPFailure) {
            switch route {
            case .put(let key): write(command: try RequestBody.put(key: key, body, limits), slot)
            case .delete(let key): write(command: Command.delete(key: key), slot)
            case .batch:
                let batch = try RequestBody.batch(body, limits)
                request?.batchCount = batch.count
                write(command: batch.command, slot)
            case .get(let key, let consistency): read(.get(key: key), consistency, slot)
            case .range(let range): read(range.query(limits), range.consistency, slot)
            case .rangeInBody(let consistency):
                let range = try RequestBody.range(body, consistency: consistency, limits)
                request?.route = .range(range)
                read(range.query(limits), consistency, slot)
            case .health: answer(.health(loop.status))
            case .clusterStatus: answer(.clusterStatus(loop.status))
            case .stateHash(let consistency): read(.stateHash, consistency, slot)
            case .members: answer(.members(loop.status))
            case .admin(let route): administer(try AdminBody.request(route, body), slot)
            case .metrics:
                answer(.lines(MetricsText(loop.status, loop.service.counters, loop.service.metrics).text))
            case .livez: answer(.live(loop.service.status))
            case .readyz: answer(.ready(loop.status))
            }
        } catch {
            answer(error)
        }
    }

    private func write(command: ByteBuffer, _ slot: Int) {
        loop.service.write(command, token: loop.nextToken(slot: slot), replyTo: loop)
    }

    private func read(_ query: Query, _ consistency: ReadConsistency?, _ slot: Int) {
        loop.service.read(
            query, consistency ?? loop.options.readConsistency, token: loop.nextToken(slot: slot), replyTo: loop)
    }

    private func administer(_ request: AdminRequest, _ slot: Int) {
        loop.service.administer(request, token: loop.nextToken(slot: slot), replyTo: loop)
    }

    private var mayAdminister: Bool {
        switch loop.options.adminAccess {
        case .everyone: true
        case .nobody: false
        case .loopback: context?.remoteAddress?.isLoopback ?? false
        }
    }

    private func redirection(to leader: String?, of request: Request) -> HTTPFailure {
        let failure = loop.redirect.failure(
            leader: leader, named: loop.service.status.leaderID,
            LeaderRedirect.Request(target: request.target, host: request.host))
        warn(of: failure, leader: leader)
        return failure
    }

    private func warn(of failure: HTTPFailure, leader: String?) {
        if let leader, failure.location == nil { loop.warn(ofLeaderAt: leader) }
    }

    private func takeBody() -> ByteBuffer {
        defer {
            loop.release(collectedBytes)
            collectedBytes = 0
            body = nil
        }
        return body ?? ByteBuffer()
    }

    // MARK: Answers

    private func answer(_ failure: HTTPFailure) {
        var failure = failure
        if failure.outcome == nil, request?.route?.isWrite == true { failure.outcome = .notApplied }
        answer(.failed(failure), closes: failure.closes)
    }

    private func answer(_ response: Response, closes: Bool = false) {
        var framing = request?.framing ?? ResponseFraming()
        // A client that was not told to continue may send its body or not: what follows cannot be told apart.
        let awaitsContinue = request?.awaitsContinue == true
        if closes || loop.isStopping || awaitsContinue { framing.connection = .close }
        write(response.encoded(framing, loop.commonFields))
        request = nil
        isBodyDue = state == .receiving && !awaitsContinue && !isTooSlow
        discardedBytes = 0
        if framing.connection == .close {
            linger()
        } else if state == .receiving {
            _ = takeBody()
            state = .discarding
        } else {
            becomeIdle()
        }
    }

    private func becomeIdle() {
        isBodyDue = false
        if loop.isStopping { return linger() }
        state = .idle
        beginIdleTime()
    }

    /// While no request is in progress: for the next one, or for the client to take what it was answered.
    private func beginIdleTime() {
        if context?.channel.isWritable == true {
            deadline = loop.deadline(after: loop.options.idleTimeout)
        } else {
            beginTransfer(loop.options.writeTimeout)
        }
    }

    // MARK: Rates

    /// Something begins to be transferred, which may take `grace` before its rate is looked at.
    private func beginTransfer(_ grace: TimeAmount) {
        transferEnd = loop.deadline(after: loop.options.maxTransferTime)
        beginWindow(grace)
    }

    private func beginWindow(_ length: TimeAmount) {
        deadline = loop.deadline(after: length)
        movedAtWindow = movedBytes
    }

    /// Whether the window that ends now has moved as much as it must for another one.
    private var keepsRate: Bool {
        let bytes = GatewayOptions.minTransferRate * Int(loop.options.transferWindow.nanoseconds / 1_000_000) / 1_000
        return movedBytes - movedAtWindow >= max(1, bytes) && loop.now < transferEnd
    }

    /// Bytes of bodies that have come; or while answers wait for the client, those that the kernel has taken.
    private var movedBytes: Int {
        guard state == .idle || state == .lingering && !outputIsFlushed else { return receivedBytes }
        let waiting = try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)
        return writtenBytes - (waiting ?? 0)
    }

    private func write(_ bytes: ByteBuffer) {
        guard let context else { return }
        var written: EventLoopPromise<Void>?
        if bytes.readableBytes >= GatewayOptions.countedAnswerBytes {
            let promise = loop.eventLoop.makePromise(of: Void.self)
            loop.count(bytes.readableBytes, until: promise.futureResult)
            written = promise
        }
        writtenBytes += bytes.readableBytes
        context.write(wrapOutboundOut(bytes), promise: written)
        needsFlush = true
    }

    private func flush() {
        guard needsFlush else { return }
        needsFlush = false
        context?.flush()
    }

    /// Closes once all answers are out: first this side, then, when the client has closed its own or the time for it is
    /// over, the connection.
    private func linger() {
        guard let context else { return }
        state = .lingering
        request = nil
        queue.removeAll()
        _ = takeBody()
        beginTransfer(loop.options.writeTimeout)
        let flushed = loop.eventLoop.makePromise(of: Void.self)
        flushed.futureResult.assumeIsolated().whenComplete { [self] _ in
            outputIsFlushed = true
            if inputIsClosed { return close() }
            self.context?.close(mode: .output, promise: nil)
            let mayCome = isBodyDue && !hasParserFailed && !loop.isStopping
            beginWindow(mayCome ? loop.options.transferWindow : loop.options.lingerTimeout)
        }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: flushed)
    }

    private static func sentence(for error: HTTPParserError) -> String {
        switch error {
        case .invalidVersion: "the version is unknown, expected HTTP/1.0 or HTTP/1.1"
        case .invalidMethod: "the method is unknown, expected GET, HEAD, PUT, POST or DELETE"
        case .invalidURL: "the target is not a URL, expected percent-encoded ASCII"
        case .invalidHeaderToken, .lfExpected: "a header field is malformed, expected \"Name: value\""
        case .unexpectedContentLength, .invalidContentLength:
            "header \"Content-Length\" is not one number, or not the only statement of the body's length"
        case .invalidChunkSize: "a chunk of the body has no valid size"
        case .invalidEOFState: "the request ends early"
        default: "the request is not HTTP/1.1"
        }
    }
}

extension SocketAddress {
    /// 127.0.0.0/8, as itself or mapped into IPv6, or ::1.
    fileprivate var isLoopback: Bool {
        guard let text = ipAddress else { return false }
        return text == "::1" || text.hasPrefix("127.") || text.hasPrefix("::ffff:127.")
    }
}

extension RequestMethod {
    fileprivate init(_ method: HTTPMethod) {
        switch method {
        case .GET: self = .get
        case .HEAD: self = .head
        case .PUT: self = .put
        case .POST: self = .post
        case .DELETE: self = .delete
        default: self = .other
        }
    }
}
