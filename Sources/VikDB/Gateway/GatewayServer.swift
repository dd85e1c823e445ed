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
    private let budget: ConnectionBudget
    private let logger: Logger
    private let table: LoopTable

    private init(
        channel: any Channel, group: any EventLoopGroup, options: GatewayOptions, budget: ConnectionBudget,
        logger: Logger, table: LoopTable
    ) {
        self.channel = channel
        self.group = group
        self.options = options
        self.budget = budget
        self.logger = logger
        self.table = table
    }

    /// Listens, without accepting yet. `host` nil: on all interfaces; a name: on the first address that it has; port 0: on
    /// any that is free.
    ///
    /// - Parameter budget: shared with the node's other listener.
    package static func bind(
        host: String?, port: Int, options: GatewayOptions, budget: ConnectionBudget, group: any EventLoopGroup,
        logger: Logger
    ) async throws(GatewayError) -> GatewayServer {
        let table = LoopTable()
        let bootstrap = ClientSocket.configure(ServerBootstrap(group: group))
            .serverChannelOption(.backlog, value: backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.autoRead, value: false)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoff("client", logger))
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.tcpOption(.notSentLowWaterMark), value: GatewayOptions.maxUnsentInKernel)
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
            return GatewayServer(
                channel: channel, group: group, options: options, budget: budget, logger: logger, table: table)
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
        for eventLoop in group.makeIterator() {
            loops[ObjectIdentifier(eventLoop)] = GatewayLoop(
                eventLoop: eventLoop, service: service, options: options,
                redirect: LeaderRedirect(ownAddress: address), budget: budget, logger: logger)
        }
        table.loops.withLock { $0 = loops }
        channel.setOption(.autoRead, value: true).whenFailure { [logger] error in
            logger.error("the HTTP server cannot accept connections", metadata: ["error": "\(error)"])
        }
        let address = channel.localAddress.map { "\($0.ipAddress ?? "")" } ?? ""
        logger.info("serving clients", metadata: ["address": "\(address)", "port": "\(port)"])
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

extension NIOBSDSocket.Option {
    /// TCP_NOTSENT_LOWAT of Linux, which Glibc does not name.
    fileprivate static let notSentLowWaterMark = NIOBSDSocket.Option(rawValue: 25)
}
