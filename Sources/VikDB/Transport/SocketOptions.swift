import NIOCore
import NIOPosix

/// The options of replication sockets, dialled and accepted: no delay for small messages, and dead peers found by the
/// kernel, by probes when the connection is idle and by a bound on unacknowledged bytes when it is not. So an idle
/// connection needs no messages to stay open.
private func replicationOptions(_ options: TransportOptions) -> [(ChannelOptions.Types.SocketOption, Int)] {
    // Linux's numbers, from <netinet/tcp.h>; NIO does not name them.
    let keepIdle = NIOBSDSocket.Option(rawValue: 4)
    let keepInterval = NIOBSDSocket.Option(rawValue: 5)
    let keepCount = NIOBSDSocket.Option(rawValue: 6)
    let userTimeout = NIOBSDSocket.Option(rawValue: 18)
    return [
        (.tcpOption(.tcp_nodelay), 1),
        (.socketOption(.so_keepalive), 1),
        (.tcpOption(keepIdle), 10),
        (.tcpOption(keepInterval), 5),
        (.tcpOption(keepCount), 3),
        (.tcpOption(userTimeout), Int(options.unacknowledgedTimeout.nanoseconds / 1_000_000)),
    ]
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
