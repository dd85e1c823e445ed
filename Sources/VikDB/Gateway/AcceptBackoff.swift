import Glibc
import Logging
import NIOCore

/// Waits a moment before the next accept when the system cannot give a descriptor or memory for it: the connection stays
/// in the backlog, which otherwise would have the listener try again at once, for ever.
enum AcceptBackoff {
    private static let pause = TimeAmount.milliseconds(100)
    private static let logInterval = TimeAmount.minutes(1)

    static func makeHandler(_ logger: Logger) -> AcceptBackoffHandler {
        var mayLogAt: NIODeadline?
        return AcceptBackoffHandler(shouldForwardIOErrorCaught: false) { error in
            guard [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode) else { return nil }
            let now = NIODeadline.now()
            if mayLogAt.map({ now >= $0 }) ?? true {
                mayLogAt = now + logInterval
                logger.warning(
                    "clients' connections cannot be accepted now, and wait",
                    metadata: ["error": "\(errorText(of: error))"])
            }
            return pause
        }
    }
}
