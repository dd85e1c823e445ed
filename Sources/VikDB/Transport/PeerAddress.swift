import Logging
import NIOCore
import NIOPosix
import VikWire

/// Where one peer is dialled. A literal address is what it is; a name is looked up anew for each attempt, because a
/// peer may move, and what it last stood for is dialled if that takes too long or fails.
///
/// Shared by the links to the peer. Bound to their loop.
package final class PeerAddress {
    package let address: HostPort
    private let resolver: NameResolver
    private let eventLoop: any EventLoop
    private let options: TransportOptions
    private let limit: TimeAmount
    private let logger: Logger
    private let isLiteral: Bool
    /// In the order in which they are dialled.
    private var known: [SocketAddress] = []
    private var waiting: [(Result<[SocketAddress], PeerConnection.Ending>) -> Void] = []
    private var lookUp = LookUp.none
    /// Why the last look-up failed, as logged.
    private var trouble: String?
    private var isStopped = false

    private enum LookUp {
        case none
        /// Waited for until the timer.
        case begun(Scheduled<Void>)
        /// Not waited for any more, but not over either: another one would only hang beside it.
        case overdue
    }

    /// - Parameter limit: how long a look-up is waited for; nil: as the options say.
    package init(
        _ address: HostPort, resolver: NameResolver, eventLoop: any EventLoop, options: TransportOptions,
        logger: Logger, limit: TimeAmount? = nil
    ) {
        self.address = address
        self.resolver = resolver
        self.eventLoop = eventLoop
        self.options = options
        self.limit = limit ?? options.lookUpTimeout
        self.logger = logger
        if let literal = try? SocketAddress(ipAddress: address.host, port: address.port) { known = [literal] }
        isLiteral = !known.isEmpty
    }

    /// Whoever waits is told so.
    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        if case .begun(let timer) = lookUp { timer.cancel() }
        resolver.forget(self)
        tell(.failure(.stopped))
    }

    // MARK: Dialling

    /// Tries one address after the other, each for as long as a connection may take to be made.
    ///
    /// - Parameter dialled: called once.
    func dial(_ dialled: @escaping (Result<any NIOCore.Channel, PeerConnection.Ending>) -> Void) {
        find { [self] result in
            switch result {
            case .success(let addresses): dial(addresses[...], failure: nil, dialled)
            case .failure(let ending): dialled(.failure(ending))
            }
        }
    }

    private func dial(
        _ addresses: ArraySlice<SocketAddress>, failure: PeerConnection.Ending?,
        _ dialled: @escaping (Result<any NIOCore.Channel, PeerConnection.Ending>) -> Void
    ) {
        guard !isStopped else { return dialled(.failure(.stopped)) }
        guard let address = addresses.first else { return dialled(.failure(failure!)) }
        ClientBootstrap(group: eventLoop)
            .connectTimeout(options.handshakeTimeout)
            .replicationOptions(options)
            .connect(to: address)
            .assumeIsolated()
            .whenComplete { result in
                switch result {
                case .success(let socket):
                    dialled(.success(socket))
                case .failure(let error):
                    // The first address is the likeliest, so is what became of it.
                    self.dial(
                        addresses.dropFirst(), failure: failure ?? PeerConnection.Ending(cause: errorText(of: error)),
                        dialled)
                }
            }
    }

    /// The peer itself answered there.
    func reached(at address: SocketAddress?) {
        move(address, toFront: true)
    }

    /// Somebody else did, or nobody that knew the protocol: the others come first the next time.
    func disappointed(by address: SocketAddress?) {
        move(address, toFront: false)
    }

    private func move(_ address: SocketAddress?, toFront: Bool) {
        guard let place = known.firstIndex(where: { $0 == address }) else { return }
        let moved = known.remove(at: place)
        known.insert(moved, at: toFront ? 0 : known.count)
    }

    // MARK: Looking up

    /// Calls `found` once, at once where nothing has to be waited for. There is at least one address.
    func find(_ found: @escaping (Result<[SocketAddress], PeerConnection.Ending>) -> Void) {
        guard !isStopped else { return found(.failure(.stopped)) }
        if isLiteral { return found(.success(known)) }
        if case .overdue = lookUp { return found(answer(without: .lookUpTimedOut)) }
        waiting.append(found)
        guard case .none = lookUp else { return }
        lookUp = .begun(
            eventLoop.assumeIsolated().scheduleTask(in: limit) { [weak self] in
                // A timer that is due together with what cancels it still fires.
                guard let self, case .begun = lookUp else { return }
                lookUp = .overdue
                fail(.lookUpTimedOut)
            })
        resolver.find(address.host, for: self) { [weak self] in self?.ended($0) }
    }

    private func ended(_ answer: NameResolver.Answer) {
        if case .begun(let timer) = lookUp { timer.cancel() }
        lookUp = .none
        switch answer {
        case .success(let addresses) where !addresses.isEmpty: succeed(addresses)
        case .success: fail(.failed(toLookUp: "it has no address"))
        case .failure(let error): fail(.failed(toLookUp: error.reason))
        }
    }

    /// Addresses that stay keep their order, and so the one that was reached last its place.
    private func succeed(_ addresses: [SocketAddress]) {
        let addresses = addresses.map { found in
            var found = found
            found.port = address.port
            return found
        }
        let former = known
        known = former.filter { addresses.contains($0) } + addresses.filter { !former.contains($0) }
        trouble = nil
        tell(.success(known))
    }

    private func fail(_ ending: PeerConnection.Ending) {
        if !known.isEmpty, trouble != ending.cause {
            logger.warning("using the peer's last known address: \(ending)", metadata: ["peer": "\(address)"])
        }
        trouble = ending.cause
        tell(answer(without: ending))
    }

    private func answer(
        without ending: PeerConnection.Ending
    ) -> Result<[SocketAddress], PeerConnection.Ending> {
        known.isEmpty ? .failure(ending) : .success(known)
    }

    private func tell(_ result: Result<[SocketAddress], PeerConnection.Ending>) {
        let told = waiting
        waiting = []
        for found in told { found(result) }
    }
}
