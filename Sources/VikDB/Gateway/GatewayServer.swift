import Glibc
import Logging
import NIOCore
import NIOPosix
import Synchronization

package struct GatewayError: Error, Equatable, CustomStringConvertible {
    package let description: String
}

/// The HTTP server: a listening socket, and a ``GatewayLoop`` for each event loop. May be used from any thread.
///
/// Binding and serving are two steps, because a node announces the port that was bound before it can take requests;
/// clients that connect in between wait in the kernel's backlog.
package final class GatewayServer: Sendable {
    private static let backlog: Int32 = 1_024

    /// The loops by the identity of their event loop; empty until ``serve(_:announcedAs:)``.
    private final class LoopTable: Sendable {
        let loops = Mutex<[ObjectIdentifier: GatewayLoop]>([:])
    }

    private let channel: any Channel
    private let group: any EventLoopGroup
    private let options: GatewayOptions
    private let logger: Logger
    private let table: LoopTable

    private init(
        channel: any Channel, group: any EventLoopGroup, options: GatewayOptions, logger: Logger, table: LoopTable
    ) {
        self.channel = channel
        self.group = group
        self.options = options
        self.logger = logger
        self.table = table
    }

    /// Listens, without accepting yet. `host` nil: on all interfaces; port 0: on any that is free.
    package static func bind(
        host: String?, port: Int, options: GatewayOptions, group: any EventLoopGroup, logger: Logger
    ) async throws(GatewayError) -> GatewayServer {
        let table = LoopTable()
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.autoRead, value: false)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in
                let loop = table.loops.withLock { $0[ObjectIdentifier(channel.eventLoop)] }
                return channel.eventLoop.makeCompletedFuture {
                    guard let loop else { throw ChannelError.operationUnsupported }
                    try HTTPConnection.configure(channel, loop: loop)
                }
            }
        do {
            let channel = try await listen(bootstrap, host, port)
            return GatewayServer(channel: channel, group: group, options: options, logger: logger, table: table)
        } catch {
            throw GatewayError(description: errorText(of: error))
        }
    }

    private static func listen(_ bootstrap: ServerBootstrap, _ host: String?, _ port: Int) async throws -> any Channel {
        if let host { return try await bootstrap.bind(host: host, port: port).get() }
        do {
            // Takes IPv4 as well.
            return try await bootstrap.bind(host: "::", port: port).get()
        } catch let error as IOError where error.errnoCode == EAFNOSUPPORT {
            return try await bootstrap.bind(host: "0.0.0.0", port: port).get()
        }
    }

    /// The port that was bound.
    package var port: Int {
        channel.localAddress?.port ?? 0
    }

    /// Starts to accept. `address` is this node's API address as other nodes announce it, so that it never redirects
    /// to itself.
    package func serve(_ service: any KeyValueService, announcedAs address: String?) {
        var loops: [ObjectIdentifier: GatewayLoop] = [:]
        let eventLoops = Array(group.makeIterator())
        // Connections are dealt out in turn, so each loop keeps its own count: no lock, no shared counter.
        let share = (options.maxConnections + eventLoops.count - 1) / eventLoops.count
        for eventLoop in eventLoops {
            loops[ObjectIdentifier(eventLoop)] = GatewayLoop(
                eventLoop: eventLoop, service: service, options: options,
                redirect: LeaderRedirect(ownAddress: address), maxConnections: share,
                maxRefusals: max(1, GatewayOptions.maxRefusalsInProgress / eventLoops.count))
        }
        table.loops.withLock { $0 = loops }
        channel.setOption(.autoRead, value: true).whenFailure { [logger] error in
            logger.error("the HTTP server cannot accept connections", metadata: ["error": "\(error)"])
        }
        logger.info("serving clients", metadata: ["port": "\(port)"])
    }

    /// Stops accepting, lets each connection finish the request that the node has, and returns once all are closed.
    /// What is still open after `limit` is cut off.
    package func stop(within limit: TimeAmount) async {
        try? await channel.close().get()
        let loops = table.loops.withLock { Array($0.values) }
        let stopping = loops.map { loop in
            let cutOff = loop.eventLoop.scheduleTask(in: limit) { loop.closeAll() }
            return loop.eventLoop.flatSubmit { loop.stop() }.always { _ in cutOff.cancel() }
        }
        for drained in stopping { try? await drained.get() }
    }
}
