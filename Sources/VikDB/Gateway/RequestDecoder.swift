import NIOCore
import NIOHTTP1

/// NIO's parser of requests, which also goes on behind a request that asks for an upgrade. Bound to an event loop.
///
/// The parser stops after such a request, because the client would speak another protocol if it were granted. VikDB
/// grants none, so what follows is HTTP (RFC 9110, 7.8): a new parser takes it.
final class RequestDecoder: ByteToMessageDecoder {
    typealias InboundOut = HTTPServerRequestPart

    private var parser = makeParser()
    /// Set with the end of a request behind which the parser stops, until the next one takes over.
    private(set) var isRestartDue = false

    private static func makeParser() -> HTTPRequestDecoder {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = GatewayOptions.maxTargetBytes
        limits.maxHeaderListSize = GatewayOptions.maxTargetBytes + GatewayOptions.maxHeaderBytes
        limits.maxHeaderFieldCount = GatewayOptions.maxHeaderFields
        return HTTPRequestDecoder(
            leftOverBytesStrategy: .dropBytes, informationalResponseStrategy: .drop, limitConfiguration: limits)
    }

    /// The part that is being handed on ends a request behind which the parser stops.
    func restart() {
        isRestartDue = true
    }

    func decoderAdded(context: ChannelHandlerContext) {
        parser.decoderAdded(context: context)
    }

    func decoderRemoved(context: ChannelHandlerContext) {
        parser.decoderRemoved(context: context)
    }

    func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        _ = try parser.decode(context: context, buffer: &buffer)
        while isRestartDue {
            isRestartDue = false
            parser.decoderRemoved(context: context)
            parser = Self.makeParser()
            parser.decoderAdded(context: context)
            if buffer.readableBytes > 0 { _ = try parser.decode(context: context, buffer: &buffer) }
        }
        return .needMoreData
    }

    func decodeLast(
        context: ChannelHandlerContext, buffer: inout ByteBuffer, seenEOF: Bool
    ) throws -> DecodingState {
        if buffer.readableBytes > 0 { _ = try decode(context: context, buffer: &buffer) }
        return try parser.decodeLast(context: context, buffer: &buffer, seenEOF: seenEOF)
    }
}

/// What a request's header makes of the parser. A plain value.
enum UpgradeWish: Equatable {
    /// It goes on by itself.
    case none
    /// It surely stops behind this request.
    case stopsParser
    /// Spelt so that it may stop or not: nothing behind this request can be trusted.
    case unclear

    init(_ headers: HTTPHeaders) {
        guard headers.contains(name: "Upgrade") else {
            self = .none
            return
        }
        var isNamed = false
        var isUnclear = false
        for (name, value) in headers {
            let value = value.utf8.span
            if name.utf8.span.isEqualIgnoringCase("upgrade") {
                if value.trimmed().isEmpty { isUnclear = true }
            } else if name.utf8.span.isEqualIgnoringCase("connection")
                // To the parser it is the same.
                || name.utf8.span.isEqualIgnoringCase("proxy-connection")
            {
                var start = 0
                while start <= value.count {
                    let end = value.firstOffset(of: UInt8(ascii: ","), from: start) ?? value.count
                    let option = value.extracting(start..<end)
                    let trimmed = option.extracting(option.trimmed())
                    // The parser knows no tab there.
                    if trimmed.isEqualIgnoringCase("upgrade"), option.firstOffset(of: UInt8(ascii: "\t")) == nil {
                        isNamed = true
                    } else if trimmed.containsIgnoringCase("upgrade") {
                        isUnclear = true
                    }
                    start = end + 1
                }
            }
        }
        self = isUnclear ? .unclear : isNamed ? .stopsParser : .none
    }
}
