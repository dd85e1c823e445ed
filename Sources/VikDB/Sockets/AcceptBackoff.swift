import Glibc
import Logging
import NIOCore

/// Waits a moment before the next accept when the system cannot give a descriptor or memory for it: the connection stays
/// in the backlog, which otherwise would have the listener try again at once, for ever.
///
/// NIO's own handler of this name only delays its reads, but leaves the socket registered: the selector goes on reporting
/// it. Bound to the listener's loop.
final class AcceptBackoff: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private static let pause = TimeAmount.milliseconds(100)
    private static let logInterval = TimeAmount.minutes(1)

    private let logger: Logger
    private let kind: String
    private var mayLogAt: NIODeadline?
    private var isPausing = false

    /// - Parameter kind: of the connections, as a log line names them.
    init(_ kind: String, _ logger: Logger) {
        self.kind = kind
        self.logger = logger
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError, [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode) else { return }
        let now = NIODeadline.now()
        if mayLogAt.map({ now >= $0 }) ?? true {
            mayLogAt = now + Self.logInterval
            logger.warning(
                "cannot accept \(kind) connections for now; they wait in the backlog",
                metadata: ["error": "\(errorText(of: error))"])
        }
        guard !isPausing else { return }
        isPausing = true
        let channel = context.channel
        channel.setOption(.autoRead, value: false).assumeIsolated().whenComplete { [self] _ in
            channel.eventLoop.assumeIsolated().scheduleTask(in: Self.pause) { [self] in
                isPausing = false
                channel.setOption(.autoRead, value: true).whenFailure { _ in }
            }
        }
    }
}
