import Logging
import NIOCore

/// The gateway's part on one event loop: its connections, the tokens of their requests, and the clock of their
/// timeouts. Bound to that loop, except for ``deliver(_:)``, which the node calls from its own threads.
///
/// A token is a connection's slot and that slot's generation, which moves on with each request, with its reply, and
/// when the connection goes: a reply that comes too late finds another generation and is dropped.
///
/// `@unchecked Sendable`: `deliver` touches only immutable state; all else runs on `eventLoop`, as preconditions check.
final class GatewayLoop: ReplySink, @unchecked Sendable {
    private struct Slot {
        var connection: HTTPConnection?
        var generation: UInt64 = 0
    }

    let eventLoop: any EventLoop
    let service: any KeyValueService
    let options: GatewayOptions
    let redirect: LeaderRedirect

    /// Deadlines are counted in ticks: one sweep of all connections instead of a timer for each request.
    private(set) var now: UInt64 = 1
    private static let tick = TimeAmount.milliseconds(100)
    private static let slotBits = 24

    /// What all answers of this second have in common.
    private(set) var commonFields = CommonFields()

    let budget: ConnectionBudget
    private let ticksBetweenLooks: UInt64
    private let logger: Logger
    /// The last address of a leader that was warned of.
    private var warnedAddress: String?
    private var slots: [Slot] = []
    private var freeSlots: [Int] = []
    private var connectionCount = 0
    private var sweeper: RepeatedTask?
    /// Bytes of half-received bodies on this loop.
    private var collectedBytes = 0
    /// Bytes of large answers that the clients on this loop have yet to take.
    private var unsentBytes = 0

    /// Set when this loop stops; succeeds once its last connection is gone.
    private var drained: EventLoopPromise<Void>?
    var isStopping: Bool { drained != nil }

    init(
        eventLoop: any EventLoop, service: any KeyValueService, options: GatewayOptions, redirect: LeaderRedirect,
        budget: ConnectionBudget, logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.service = service
        self.options = options
        self.redirect = redirect
        self.budget = budget
        self.logger = logger
        ticksBetweenLooks = UInt64(max(1, options.acknowledgementInterval.nanoseconds / Self.tick.nanoseconds))
    }

    /// Whether this is the listener of operators.
    var isAdmin: Bool { options.adminAccess == .everyone }

    /// Clients cannot be sent to a leader, because of what it announces. Logged once for each address.
    func warn(ofLeaderAt address: String) {
        guard warnedAddress != address else { return }
        warnedAddress = address
        logger.warning(
            """
            clients cannot be redirected: the API address that the leader announces is none, or leads to this node; \
            start each node with its own -advertise-addr
            """, metadata: ["address": "\(address)"])
    }

    func deliver(_ replies: [Reply]) {
        eventLoop.execute { [self] in
            for reply in replies {
                let slot = Int(reply.token & (1 << Self.slotBits - 1))
                guard slots[slot].generation == reply.token >> Self.slotBits else { continue }
                slots[slot].generation += 1
                slots[slot].connection?.complete(reply.outcome)
            }
        }
    }

    /// What may be told of the node now.
    var status: NodeStatus { service.status.told }

    enum Admission: Equatable {
        case admitted(slot: Int)
        /// Beyond the general part of the budget: for operators and probes.
        case reserved(slot: Int)
        /// Far too many: closed at once.
        case dropped
    }

    func admit(_ connection: HTTPConnection) -> Admission {
        eventLoop.preconditionInEventLoop()
        guard !isStopping, slots.count < 1 << Self.slotBits || !freeSlots.isEmpty,
            let place = budget.take(isAdmin: isAdmin)
        else { return .dropped }
        if sweeper == nil { startSweeping() }
        connectionCount += 1
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
        } else {
            slot = slots.count
            slots.append(Slot())
        }
        slots[slot].connection = connection
        return place == .general ? .admitted(slot: slot) : .reserved(slot: slot)
    }

    func remove(slot: Int) {
        eventLoop.preconditionInEventLoop()
        slots[slot].connection = nil
        slots[slot].generation += 1
        freeSlots.append(slot)
        connectionCount -= 1
        budget.release()
        finishStoppingIfDrained()
    }

    /// The token of the next request on `slot`; all earlier ones of this slot are void from now on.
    func nextToken(slot: Int) -> UInt64 {
        slots[slot].generation += 1
        return slots[slot].generation << Self.slotBits | UInt64(slot)
    }

    /// A reply to the request in progress on `slot` will find nobody.
    func voidToken(slot: Int) {
        slots[slot].generation += 1
    }

    /// The first tick at which `timeout` is surely over.
    func deadline(after timeout: TimeAmount) -> UInt64 {
        now + UInt64(max(0, timeout.nanoseconds) / Self.tick.nanoseconds) + 2
    }

    /// Makes room for `count` more bytes of a body, or says no.
    func collect(_ count: Int) -> Bool {
        guard collectedBytes + count <= GatewayOptions.maxCollectedBytes else { return false }
        collectedBytes += count
        return true
    }

    func release(_ count: Int) {
        collectedBytes -= count
        precondition(collectedBytes >= 0, "a body was released twice")
    }

    /// Whether there is room for one more large answer.
    var mayAnswer: Bool { unsentBytes < options.maxUnsentBytes }

    /// Counts an answer until `written` is over, whatever its end.
    func count(_ bytes: Int, until written: EventLoopFuture<Void>) {
        unsentBytes += bytes
        written.assumeIsolated().whenComplete { [self] _ in unsentBytes -= bytes }
    }

    /// Lets each connection finish the request in progress, and closes those that have none. The result succeeds once
    /// the last connection is gone.
    func stop() -> EventLoopFuture<Void> {
        eventLoop.preconditionInEventLoop()
        if let drained { return drained.futureResult }
        let drained = eventLoop.makePromise(of: Void.self)
        self.drained = drained
        for slot in slots { slot.connection?.stop() }
        finishStoppingIfDrained()
        return drained.futureResult
    }

    func closeAll() {
        eventLoop.preconditionInEventLoop()
        for slot in slots { slot.connection?.close() }
    }

    private func startSweeping() {
        commonFields.update()
        sweeper = eventLoop.scheduleRepeatedTask(initialDelay: Self.tick, delay: Self.tick) { [self] _ in
            now += 1
            commonFields.update()
            for (place, slot) in slots.enumerated() {
                slot.connection?.checkDeadline()
                // In turn, so that no tick asks the kernel about all of them.
                if (now + UInt64(place)) % ticksBetweenLooks == 0 { slot.connection?.checkAcknowledgements() }
            }
        }
    }

    private func finishStoppingIfDrained() {
        guard let drained, connectionCount == 0 else { return }
        sweeper?.cancel()
        drained.succeed()
    }
}
