/// What happened in a run, or in many: a green suite says what it has seen. A plain value.
package struct Coverage: Sendable {
    package enum Counter: String, CaseIterable, Sendable {
        case elections = "leaders elected"
        case leaderSteppedDown = "leader stepped down"
        case preVoteRefused = "pre-vote refused"
        case voteRefused = "vote refused"
        case logTruncated = "log truncated"
        case appendRejected = "append rejected"
        case crashes
        case crashInsideJob = "crash inside a job"
        case crashInRecovery = "crash inside recovery"
        case unsyncedEntriesLost = "unsynced entries lost in crash"
        case unsyncedEntriesKept = "part of an unsynced group kept in crash"
        case voteLost = "vote or term lost in crash"
        case tornTail = "torn tail recovered"
        case restarts
        case cleanStops = "clean stops"
        case diskErrors = "node stopped by a disk error"
        case pauses
        case slowDisks = "slow disks"
        case partitions
        case oneWayLinks = "one-way links"
        case messagesLost = "messages lost"
        case messagesDuplicated = "messages duplicated"
        case codecRoundTrips = "messages through the wire codec"
        case segmentsRotated = "runs in which a log segment was rotated"
        case memtablesFlushed = "runs in which a memtable was flushed"
        case merges = "runs in which tables were merged"
        case slowdowns = "runs in which an engine asked for a slowdown"
        case logReplayed = "engine caught up from the log after restart"
        case fetches = "old entries fetched for a slow follower"
        case wipes = "disks wiped"
        case readmissions = "wiped store readmitted"
        case zombies = "replaced disks that came back"
        case storesRefused = "dialled by a store that is not on record"
        case writesAcknowledged = "writes acknowledged"
        case writesRefused = "writes refused"
        case writesUnknown = "writes unknown"
        case followerReads = "linearizable reads answered by a follower"
        case leaderReads = "linearizable reads answered by a leader"
        case readsRefused = "reads refused"
        case staleReads = "stale reads"
        case durabilityChecks = "committed entries looked up on disks"
        case logCompacted = "logs compacted"
        case snapshotsOffered = "snapshots offered"
        case snapshotsInstalled = "snapshots installed"
        case snapshotLinksCut = "snapshot connections cut"
        case snapshotsResumed = "chunks sent again after a cut"
        case conflictReplaced = "conflicting logs replaced by a snapshot"
        case crashInInstall = "crash between a snapshot's state and its log"
        case membersAdded = "members added"
        case membersRemoved = "members removed"
        case membersReplaced = "members replaced while another was away"
        case quorumsShrunk = "other voter removed while reads wait for it"
        case learnersPromoted = "learners made voters"
        case leaderRemoved = "leaders removed"
        case changesRefused = "changes of members refused"
        case acquaintances = "dialled by a member not yet heard of"
        case unknownToPeer = "dialled by a node that is no member"
        case handOvers = "hand-overs asked for"
        case appendsCutOff = "nodes cut off from sending entries"
        case majorityServed = "majorities that served without a restart"
        case majorityServedAlone = "of them, with a member down"
        case quorumOfOne = "runs of a single node"
    }

    private var counts: [Int] = Array(repeating: 0, count: Counter.allCases.count)

    package init() {}

    package subscript(counter: Counter) -> Int {
        get { counts[Self.position[counter]!] }
        set { counts[Self.position[counter]!] = newValue }
    }

    private static let position = Dictionary(
        uniqueKeysWithValues: zip(Counter.allCases, Counter.allCases.indices))

    package mutating func add(_ other: Coverage) {
        for index in counts.indices { counts[index] += other.counts[index] }
    }

    /// What never happened.
    package var missing: [Counter] {
        zip(Counter.allCases, counts).filter { $0.1 == 0 }.map(\.0)
    }

    package var report: String {
        zip(Counter.allCases, counts).map { "  \($0.0.rawValue): \($0.1)" }.joined(separator: "\n")
    }
}
