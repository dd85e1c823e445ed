import NIOCore
import VikWire

/// Limits and waits of the transport. A plain value; tests shorten them.
package struct TransportOptions: Sendable {
    /// How long a connection to one address may take to be made, and then to get through its handshake.
    package var handshakeTimeout: TimeAmount = .seconds(5)
    /// How long a peer may owe the acknowledgement of bytes or of a probe before the connection is given up. Without it
    /// a connection would outlive a partition by minutes, deaf until TCP's own back-off ends.
    package var unacknowledgedTimeout: TimeAmount = .seconds(5)
    /// How often each connection is looked at for that.
    package var watchInterval: TimeAmount = .milliseconds(500)
    /// When a connection on which nothing comes is probed.
    package var idleSecondsBeforeProbe = 10
    /// How long the look-up of a peer's name is waited for; after it the peer's last addresses are dialled. It is no part
    /// of ``handshakeTimeout``, which begins later.
    package var lookUpTimeout: TimeAmount = .seconds(2)
    /// The same for the name that this node listens at, without which it cannot start.
    package var ownLookUpTimeout: TimeAmount = .seconds(10)
    /// How names are looked up.
    package var lookUp: HostLookUp = SystemHosts.lookUp
    /// Pause before a peer is dialled again: doubles from the first to the second, with jitter.
    package var minRetryDelay: TimeAmount = .milliseconds(50)
    package var maxRetryDelay: TimeAmount = .seconds(2)
    /// Bytes that may wait on a connection, the last message above them included in whole. A control message beyond is
    /// dropped; an append beyond closes the connection, so that the leader probes anew, and so does a part of a
    /// snapshot, of which a sender has no more under way than fits.
    package var maxControlQueueBytes = 4 << 20
    package var maxBulkQueueBytes = 64 << 20
    package var maxSnapshotQueueBytes = 64 << 20
    /// Accepted connections that are not yet through the handshake. Those that are need no limit of their own: there
    /// are two of each channel for each peer at most.
    package var maxStrangers = 64
    /// What both sides of every connection must know; nil: whoever reaches the port is trusted.
    package var secret: ClusterSecret?
    /// Seed of the jitter.
    package var seed: UInt64

    package init(seed: UInt64) {
        self.seed = seed
    }

    /// Until one is answered: several fit into the time-out, so that one that is lost tells nothing.
    static let secondsBetweenProbes = 1
    /// How long the kernel, left alone, would wait for an acknowledgement: longer than a node stands still, be it stopped
    /// by a signal, and short enough for the kernel's arithmetic, which may count it in microseconds in 31 bits.
    static let kernelPatience = TimeAmount.minutes(30)
    /// Largest piece read from a socket at once; entries of one read share it.
    static let maxReadBytes = 256 << 10
    /// A send buffer that has grown beyond this is let go after a flush.
    static let maxIdleBufferBytes = 256 << 10
    /// Refusals that are remembered, each of a host for a cause, to log it once.
    static let maxRememberedRefusals = 64

    func maxQueueBytes(_ channel: VikWire.Channel) -> Int {
        switch channel {
        case .control: maxControlQueueBytes
        case .bulk: maxBulkQueueBytes
        case .snapshot: maxSnapshotQueueBytes
        }
    }
}
