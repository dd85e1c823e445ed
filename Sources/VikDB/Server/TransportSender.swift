import VikWire

/// The shell's ``PeerSender``: hands on to the transport, once there is one; a node alone never gets one. Bound to the
/// node's loop.
final class TransportSender: PeerSender {
    var transport: PeerTransport?

    func send(_ message: Message, to member: MemberID) {
        transport?.send(message, to: member)
    }

    func setPeers(_ members: [Member]) {
        transport?.setPeers(OwnMember.peers(members))
    }

    func openSnapshotConnection(to member: MemberID) {
        transport?.openSnapshotConnection(to: member)
    }

    func closeSnapshotConnection(to member: MemberID) {
        transport?.closeSnapshotConnection(to: member)
    }

    func refuse(_ member: MemberID, reason: String) {
        transport?.refuse(member, reason: reason)
    }

    func flush() {
        transport?.flush()
    }
}
