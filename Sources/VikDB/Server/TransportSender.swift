import VikWire

/// The shell's ``PeerSender``: hands on to the transport, once there is one; a node alone never gets one. Bound to the
/// node's loop.
final class TransportSender: PeerSender {
    var transport: PeerTransport?

    func send(_ message: Message, to member: MemberID) {
        transport?.send(message, to: member)
    }

    func setPeers(_ members: [Member]) {}

    func openSnapshotConnection(to member: MemberID) {}

    func closeSnapshotConnection(to member: MemberID) {}

    func flush() {
        transport?.flush()
    }
}
