/// What VikDB reads from a request's header fields, in one pass over them. A plain value.
struct RequestFields: Equatable {
    /// As announced; nil if chunked or absent.
    var contentLength: Int?
    var isChunked = false
    var expectsContinue = false
    /// A `Content-Type` that is not JSON, or a coded body.
    var isUnsupportedMedia = false
    /// An upgrade was asked for, which is not granted.
    var asksUpgrade = false
    /// As the client wrote it.
    var host = ""

    var hasBody: Bool { isChunked || (contentLength ?? 0) > 0 }

    init(
        _ fields: some Sequence<(name: String, value: String)>, isHTTP10: Bool
    ) throws(HTTPFailure) {
        var bytes = 0
        var hosts = 0
        var unknownExpectation = false
        for (name, value) in fields {
            bytes += name.utf8.count + value.utf8.count
            let name = name.utf8.span
            let text = value.utf8.span.extracting(value.utf8.span.trimmed())
            switch name.count {
            case 4 where name.isEqualIgnoringCase("host"):
                hosts += 1
                host = value
            case 6 where name.isEqualIgnoringCase("expect"):
                expectsContinue = !isHTTP10 && text.isEqualIgnoringCase("100-continue")
                unknownExpectation = !isHTTP10 && !expectsContinue
            case 7 where name.isEqualIgnoringCase("upgrade"):
                asksUpgrade = true
            case 12 where name.isEqualIgnoringCase("content-type"):
                if !Self.isJSON(text) { isUnsupportedMedia = true }
            case 14 where name.isEqualIgnoringCase("content-length"):
                guard contentLength == nil, let length = Int(String(copying: text)), length >= 0 else {
                    throw .badFraming("header \"Content-Length\" is not one number")
                }
                contentLength = length
            case 16 where name.isEqualIgnoringCase("content-encoding"):
                if !text.isEqualIgnoringCase("identity") { isUnsupportedMedia = true }
            case 17 where name.isEqualIgnoringCase("transfer-encoding"):
                guard !isChunked, !isHTTP10, text.isEqualIgnoringCase("chunked") else {
                    throw .badFraming("header \"Transfer-Encoding\" is not understood, expected chunked")
                }
                isChunked = true
            default:
                break
            }
        }
        guard bytes <= GatewayOptions.maxHeaderBytes else { throw .headersTooLarge }
        guard contentLength == nil || !isChunked else {
            throw .badFraming("both \"Content-Length\" and \"Transfer-Encoding\" are given, expected one")
        }
        guard hosts == 1 || (hosts == 0 && isHTTP10) else {
            throw .badFraming("header \"Host\" is given \(hosts) times, expected once")
        }
        guard !unknownExpectation else {
            var failure = HTTPFailure(.expectationFailed, "header \"Expect\" is unknown, expected 100-continue")
            failure.closes = true
            throw failure
        }
    }

    /// `application/json`, with any parameters.
    private static func isJSON(_ value: Span<UInt8>) -> Bool {
        let type = value.extracting(..<(value.firstOffset(of: UInt8(ascii: ";")) ?? value.count))
        return type.extracting(type.trimmed()).isEqualIgnoringCase("application/json")
    }
}

extension HTTPFailure {
    /// Also what the parser's own limits are answered with: it does not say which one was passed.
    static var headersTooLarge: HTTPFailure {
        var failure = HTTPFailure(
            .headerFieldsTooLarge,
            "the head of the request is too large: the target may have \(GatewayOptions.maxTargetBytes) bytes, the "
                + "header \(GatewayOptions.maxHeaderFields) fields and \(GatewayOptions.maxHeaderBytes) bytes")
        failure.closes = true
        return failure
    }
}
