import Glibc
import NIOCore
import NIOPosix

/// Clients whose machines acknowledge no answer any more.
///
/// The kernel would give such a connection up by itself, in a quarter of an hour or sooner where an operator says so,
/// with the error of its last attempt to send. Where the route to the client has become a null route this is EINVAL,
/// which NIO holds to be impossible for read(2), and ends the process. Most connections have met another limit long
/// before; not one whose client goes on sending. So the kernel is told to wait, and the gateway looks for itself.
enum ClientSocket {
    /// For longer than the gateway needs to find out, and short enough for the kernel's arithmetic, which may count it in
    /// microseconds in 31 bits.
    private static let kernelPatience = TimeAmount.minutes(30)
    /// For a connection that is closed, where nobody hears of errors any more.
    private static let closedPatience = TimeAmount.seconds(30)
    /// Linux's TCP_USER_TIMEOUT, which NIO does not name.
    private static let userTimeout = NIOBSDSocket.Option(rawValue: 18)

    static func configure(_ bootstrap: ServerBootstrap) -> ServerBootstrap {
        bootstrap.childChannelOption(.tcpOption(userTimeout), value: milliseconds(kernelPatience))
    }

    /// Calls `body` at once, on the channel's loop, if answers were sent again and again without a word of the client's
    /// machine.
    static func ifUnacknowledged(
        _ channel: any NIOCore.Channel, repeated limit: Int, _ body: @escaping () -> Void
    ) {
        guard let socket = channel as? any SocketOptionProvider else { return }
        socket.getTCPInfo().assumeIsolated().whenSuccess { info in
            if info.tcpi_unacked > 0, info.tcpi_retransmits >= limit { body() }
        }
    }

    /// Before it is closed: the kernel keeps what was not acknowledged no longer than it must.
    static func letKernelGiveUp(_ channel: any NIOCore.Channel) {
        try? channel.syncOptions?.setOption(.tcpOption(userTimeout), value: milliseconds(closedPatience))
    }

    private static func milliseconds(_ amount: TimeAmount) -> Int { Int(amount.nanoseconds / 1_000_000) }
}
