import NIOCore
import VikWire

/// Everything that can happen to a node, in the one form that its shell takes it.
package enum NodeInput: Sendable {
    /// One tick of ``NodeOptions/tickMilliseconds`` passed.
    case tick
    case write(command: ByteBuffer, token: UInt64, sink: any ReplySink)
    case read(Query, ReadConsistency, token: UInt64, sink: any ReplySink)
    /// From the member's store that the transport's handshake established.
    case message(Message, from: MemberID, store: StoreID)
    /// A handshake with a member, at its own address, is done; or it told something new about itself.
    case peerConnected(Hello, acknowledged: AcknowledgedLog? = nil)
    /// A member's connection to this node is through its handshake.
    case peerAccepted(Hello)
    /// A connection to a member broke; what was on its way may be lost.
    case peerDisconnected(MemberID)
    /// The connection that carries entries to a member is open, or broke.
    case appendsOpened(MemberID)
    case appendsCutOff(MemberID)
    /// A node of this node's own cluster dialled, which may be a member that was added while this node was away.
    case acquainted(Hello)
    /// The connection for a snapshot to a member is through its handshake, or broke and is dialled again.
    case snapshotConnected(MemberID)
    case snapshotDisconnected(MemberID)
    /// A member of this node's own cluster answered that this node is no member of it.
    case unknownToPeer(Hello)
    /// One answered that another store is on record for this node.
    case storeRefused(Hello)
    /// A job of the log lane wrote and synced a group.
    case persisted(sequence: UInt64, nanoseconds: UInt64)
    /// It saved the hard state of a group, but the disk has no room for the entries.
    case persistenceRefused(sequence: UInt64, path: String)
    /// It has room for its next segment again.
    case logHasRoom
    /// A job of the apply lane is done.
    case applied(AppliedRun)
    /// A job of the read lane fetched old entries for a follower.
    case fetched([Entry], for: MemberID)
    /// A job of the read lane read the next records of a snapshot for a member, or found none; and one of the snapshot
    /// lane made the next piece of them.
    case snapshotRead(MemberID, transfer: UInt64, isEnd: Bool)
    case snapshotProduced(MemberID, transfer: UInt64, SnapshotProducer.Product)
    /// A chunk that came is written; or it was not what it should be, or there is no room for it.
    case snapshotTakenIn(serial: UInt64, sequence: UInt64, rawBytes: UInt64)
    case snapshotSpoilt(serial: UInt64, reason: String)
    /// There was no room to put a snapshot in the place of the engine's state, or then to begin the log after it.
    case snapshotNotSwitched(reason: String)
    case snapshotResetRefused
    /// A snapshot took the place of the engine's state; and then of the log.
    case snapshotSwitched
    case snapshotInstalled(IndexedConfiguration)
    /// A job of the snapshot lane hashed a piece of the state for a read; with a hash, the last one.
    case stateHashed(StateHasher, UInt64?, token: UInt64, sink: any ReplySink)
    /// An operator's wish.
    case administer(AdminRequest, token: UInt64, sink: any ReplySink)
    /// Hand the office over before a stop.
    case handOver
    case backgroundDone(BackgroundOutcome)
    /// Free space on the log's and the tables' file system, whichever has less.
    case freeSpace(bytes: UInt64, files: UInt64 = .max)
    /// A disk failed or a file is damaged: the node must not go on.
    case failed(StorageError)
    /// Stop accepting; finish what is in flight; close.
    case stop
    /// The log is closed with its end mark; nothing more will happen.
    case closed
}

/// Results of a run of applied entries.
package struct AppliedRun: Sendable {
    package let through: LogIndex
    /// One for each entry of the run, in order; nil for entries that are not commands.
    package let results: [CommandResult?]
    /// Of its entries.
    package let bytes: Int
}

/// Where inputs from other threads go; they reach ``NodeShell/handle(_:)`` on the node's loop, in order.
package protocol NodeInbox: AnyObject, Sendable {
    func post(_ input: NodeInput)
}

/// The shell's way to the other members; bound to the node's loop. Messages may be lost.
package protocol PeerSender: AnyObject {
    func send(_ message: Message, to member: MemberID)
    /// Replaces the list of the other members and their addresses. What is not in it is neither dialled nor listened to.
    func setPeers(_ members: [Member])
    /// Dials, and goes on dialling, the connection for a snapshot to a peer, until it is closed.
    func openSnapshotConnection(to member: MemberID)
    func closeSnapshotConnection(to member: MemberID)
    /// Ends all connections to and from a member, which said what no member can. They are dialled again after the usual
    /// pause.
    func refuse(_ member: MemberID, reason: String)
    /// Hands everything sent since the last call to the network.
    func flush()
}

/// How a job of the background lane ended.
package enum BackgroundOutcome: Equatable, Sendable {
    case done
    /// Files were removed, and none was written.
    case removed
    /// A merge that is due was not begun, for want of room.
    case postponed
    /// The disk has no room for the file at this path.
    case refused(path: String)
}
