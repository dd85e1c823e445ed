import Glibc
import NIOCore
import NIOPosix

/// The options of replication sockets, dialled and accepted: no delay for small messages, and probes when a connection
/// is idle, so that it needs no messages to be known alive.
///
/// The kernel only asks, the node decides (``AcknowledgementWatch``): a connection that the kernel gives up by itself
/// gets the error of the last attempt to send. Where a route has become a null route this is EINVAL, which NIO holds to
/// be impossible for read(2), and ends the process. So the kernel is told to wait for far longer than the node does.
private func replicationOptions(_ options: TransportOptions) -> [(ChannelOptions.Types.SocketOption, Int)] {
    [
        (.tcpOption(.tcp_nodelay), 1),
        (.socketOption(.so_keepalive), 1),
        (.tcpOption(.keepIdle), options.idleSecondsBeforeProbe),
        (.tcpOption(.keepInterval), TransportOptions.secondsBetweenProbes),
        // Where this is set it takes the place of counts: of tcp_retries2, and of probes.
        (.tcpOption(.userTimeout), TransportOptions.kernelPatience.wholeMilliseconds),
    ]
}

extension NIOBSDSocket.Option {
    // Linux's numbers, from <netinet/tcp.h>; NIO does not name them.
    fileprivate static let keepIdle = NIOBSDSocket.Option(rawValue: 4)
    fileprivate static let keepInterval = NIOBSDSocket.Option(rawValue: 5)
    fileprivate static let userTimeout = NIOBSDSocket.Option(rawValue: 18)
}

private let readAllocator = AdaptiveRecvByteBufferAllocator(
    minimum: 512, initial: 4_096, maximum: TransportOptions.maxReadBytes)

extension ClientBootstrap {
    func replicationOptions(_ options: TransportOptions) -> ClientBootstrap {
        var bootstrap = self
        for (option, value) in VikDB.replicationOptions(options) {
            bootstrap = bootstrap.channelOption(option, value: value)
        }
        return bootstrap
    }
}

extension ServerBootstrap {
    func childReplicationOptions(_ options: TransportOptions) -> ServerBootstrap {
        var bootstrap = childChannelOption(.recvAllocator, value: readAllocator)
        for (option, value) in VikDB.replicationOptions(options) {
            bootstrap = bootstrap.childChannelOption(option, value: value)
        }
        return bootstrap
    }
}

extension NIOCore.Channel {
    /// The socket is about to be closed, and nobody will hear of its errors: what it has not sent the kernel need not
    /// keep for longer than the node would.
    func letKernelGiveUp(after limit: TimeAmount) {
        try? syncOptions?.setOption(.tcpOption(.userTimeout), value: limit.wholeMilliseconds)
    }

    /// Calls `body` at once, on the channel's loop; never if the socket is closed.
    func withAcknowledgementFigures(_ body: @escaping (AcknowledgementWatch.Figures) -> Void) {
        guard let socket = self as? any SocketOptionProvider else { return }
        socket.getTCPInfo().assumeIsolated().whenSuccess { info in
            body(
                AcknowledgementWatch.Figures(
                    unacknowledged: info.tcpi_unacked, unansweredProbes: UInt32(info.tcpi_probes),
                    sinceAcknowledgement: .milliseconds(Int64(info.tcpi_last_ack_recv))))
        }
    }
}

extension TimeAmount {
    fileprivate var wholeMilliseconds: Int { Int(nanoseconds / 1_000_000) }
}
