import NIOCore
import Synchronization
import VikWire

/// Looks names up off the event loop, each on a thread of its own, and never the same name twice at a time: one that
/// hangs costs its thread, and nothing else.
///
/// Bound to its loop, and used until ``close()``.
package final class NameResolver {
    package typealias Answer = Result<[SocketAddress], HostLookUpError>

    /// Look-ups under way, so threads, at most: one for each member there may be, and as many of former members whose
    /// names still hang.
    package static let maxLookUps = 2 * WireLimits.maxMembers

    private let eventLoop: any EventLoop
    private let lookUp: HostLookUp
    private let wayBack = WayBack()
    /// By name: who waits for it.
    private var underWay: [String: [ObjectIdentifier: (Answer) -> Void]] = [:]

    package init(eventLoop: any EventLoop, lookUp: @escaping HostLookUp) {
        eventLoop.preconditionInEventLoop()
        self.eventLoop = eventLoop
        self.lookUp = lookUp
        wayBack.open(to: NIOLoopBound(self, eventLoop: eventLoop))
    }

    /// Calls `found` later, once, however long it takes; never after ``forget(_:)`` or ``close()``.
    func find(_ host: String, for owner: AnyObject, _ found: @escaping (Answer) -> Void) {
        if underWay[host] != nil {
            underWay[host]![ObjectIdentifier(owner)] = found
            return
        }
        let isStarted = underWay.count < Self.maxLookUps && start(host)
        underWay[host] = [ObjectIdentifier(owner): found]
        guard !isStarted else { return }
        eventLoop.assumeIsolated().execute { [self] in
            ended(host, .failure(HostLookUpError("too many names are being looked up")))
        }
    }

    /// What `owner` waits for is not wanted any more. The thread goes on, and its name stays taken.
    func forget(_ owner: AnyObject) {
        for host in underWay.keys { underWay[host]![ObjectIdentifier(owner)] = nil }
    }

    /// Nobody is called any more, also not the loop, which may end. Threads that hang are left to themselves.
    package func close() {
        wayBack.close()
        underWay = [:]
    }

    private func start(_ host: String) -> Bool {
        DetachedThread.run { [lookUp, wayBack] in
            let answer: Answer
            do throws(HostLookUpError) {
                answer = .success(try lookUp(host))
            } catch {
                answer = .failure(error)
            }
            wayBack.deliver(host, answer)
        }
    }

    fileprivate func ended(_ host: String, _ answer: Answer) {
        for found in (underWay.removeValue(forKey: host) ?? [:]).values { found(answer) }
    }
}

/// From a thread to the loop of a resolver that may be closed by then. Any thread.
private final class WayBack: Sendable {
    private let resolver = Mutex<NIOLoopBound<NameResolver>?>(nil)

    func open(to resolver: NIOLoopBound<NameResolver>) {
        self.resolver.withLock { $0 = resolver }
    }

    func close() {
        resolver.withLock { $0 = nil }
    }

    /// Under the lock, so that the loop still runs.
    func deliver(_ host: String, _ answer: NameResolver.Answer) {
        resolver.withLock { resolver in
            guard let resolver else { return }
            resolver.eventLoop.execute { resolver.value.ended(host, answer) }
        }
    }
}
