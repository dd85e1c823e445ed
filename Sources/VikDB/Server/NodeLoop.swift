import NIOCore
import VikWire

/// Binds a ``NodeShell`` and its transport to one event loop: inputs in, one ``NodeShell/pump()`` after each burst of
/// them, ticks. Bound to that loop.
final class NodeLoop: TransportDelegate {
    private let eventLoop: any EventLoop
    private let inbox: LoopInbox
    let shell: NodeShell
    private let sender: TransportSender
    private let board: StatusBoard
    private var ticker: RepeatedTask?
    private var drained: [NodeInput] = []
    private var isPumpScheduled = false
    private var publishedWireBytes: UInt64 = 0
    /// Fulfilled when the shell is closed or has failed.
    private let ended: EventLoopPromise<StorageError?>
    private var hasEnded = false

    init(
        eventLoop: any EventLoop, inbox: LoopInbox, shell: NodeShell, sender: TransportSender, board: StatusBoard,
        ended: EventLoopPromise<StorageError?>
    ) {
        self.eventLoop = eventLoop
        self.inbox = inbox
        self.shell = shell
        self.sender = sender
        self.board = board
        self.ended = ended
    }

    func start(tick: TimeAmount) {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        board.ticked()
        ticker = eventLoop.scheduleRepeatedTask(initialDelay: tick, delay: tick) { _ in bound.value.tick() }
        pump()
    }

    private func tick() {
        shell.handle(.tick)
        pump()
        // Last: a tick that hangs is none.
        board.ticked()
    }

    /// Takes what other threads have posted.
    func drain() {
        inbox.takeAll(into: &drained)
        for input in drained { shell.handle(input) }
        drained.removeAll(keepingCapacity: true)
        pump()
    }

    /// Everything that this turn of the loop still brings shares one pump.
    private func schedulePump() {
        guard !isPumpScheduled else { return }
        isPumpScheduled = true
        eventLoop.assumeIsolated().execute { [self] in
            isPumpScheduled = false
            pump()
        }
    }

    private func pump() {
        shell.pump()
        publishWireBytes()
        if !hasEnded, shell.isClosed || shell.failure != nil {
            hasEnded = true
            ended.succeed(shell.failure)
        }
    }

    /// Before a write is answered, the appends that carried it are counted: a measurement may end with the answer.
    private func publishWireBytes() {
        let wireBytes = sender.transport?.bytesSent ?? 0
        guard wireBytes != publishedWireBytes else { return }
        publishedWireBytes = wireBytes
        board.count { $0.wireBytes = wireBytes }
    }

    /// While the node stops: answers whatever still waits, and takes no more.
    func stopWaiting() {
        guard !hasEnded else { return }
        shell.handle(.stop)
        shell.abandonEverything()
        pump()
    }

    /// Ends a stop that does not come to its end by itself: whatever is in flight is answered as unknown.
    func giveUp() {
        guard !hasEnded else { return }
        hasEnded = true
        shell.abandonEverything()
        shell.pump()
        ended.succeed(nil)
    }

    func close() -> EventLoopFuture<Void> {
        ticker?.cancel()
        ticker = nil
        return sender.transport?.close() ?? eventLoop.makeSucceededVoidFuture()
    }

    // MARK: TransportDelegate

    func transportReceived(_ message: Message, from peer: Hello) {
        shell.handle(.message(message, from: peer.member, store: peer.store))
    }

    func transportReadComplete() {
        schedulePump()
    }

    func transportConnected(_ peer: Hello, _ channel: VikWire.Channel, acknowledged: AcknowledgedLog?) {
        shell.handle(
            channel == .snapshot
                ? .snapshotConnected(peer.member) : .peerConnected(peer, acknowledged: acknowledged))
        if channel == .bulk { shell.handle(.appendsOpened(peer.member)) }
        schedulePump()
    }

    func transportDisconnected(_ member: MemberID, _ channel: VikWire.Channel) {
        shell.handle(channel == .snapshot ? .snapshotDisconnected(member) : .peerDisconnected(member))
        if channel == .bulk { shell.handle(.appendsCutOff(member)) }
        schedulePump()
    }

    func transportAccepted(_ peer: Hello) {
        shell.handle(.peerAccepted(peer))
    }

    func transportAcquainted(_ stranger: Hello) -> Bool {
        guard shell.mayBeNew(stranger) else { return false }
        shell.handle(.acquainted(stranger))
        schedulePump()
        return true
    }

    func transportIsUnknown(to peer: Hello) {
        shell.handle(.unknownToPeer(peer))
        schedulePump()
    }

    func transportIsRefused(by peer: Hello) {
        shell.handle(.storeRefused(peer))
        schedulePump()
    }

    func storeRefusal(of peer: Hello) -> String? { shell.storeRefusal(of: peer) }

    func isOnRecord(_ peer: Hello) -> Bool { shell.core.isOnRecord(peer.store, of: peer.member) }

    func acknowledgedLog(of member: MemberID) -> AcknowledgedLog? { shell.core.acknowledgedLog(of: member) }

    func joinReply(to request: JoinRequest, _ answer: @escaping (JoinReply?) -> Void) {
        shell.tell(request, answer)
        schedulePump()
    }

    func localHello(to member: MemberID) -> LocalHello { shell.localHello(to: member) }
}
