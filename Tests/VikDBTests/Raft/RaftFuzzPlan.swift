import VikDB

/// What one seed does to its cluster. A plain value.
struct RaftFuzzPlan {
    let members: Int
    let loss: Double
    let duplication: Double
    let maxDelay: Int
    let maxDiskDelay: Int
    let crashes: Double
    let cuts: Double
    let pauses: Double
    let wipes: Double
    let proposals: Double
    let forgeries: Double

    init(using random: inout SplitMix64) {
        members = [1, 2, 3, 3, 3, 5, 5, 7].randomElement(using: &random)!
        loss = [0, 0.05, 0.3].randomElement(using: &random)!
        duplication = [0, 0.2].randomElement(using: &random)!
        maxDelay = [1, 4, 15].randomElement(using: &random)!
        maxDiskDelay = [0, 3, 25, 50].randomElement(using: &random)!
        crashes = [0, 0.003, 0.015].randomElement(using: &random)!
        cuts = [0, 0.01, 0.03].randomElement(using: &random)!
        pauses = [0, 0.003].randomElement(using: &random)!
        proposals = 0.4
        forgeries = [0, 0.02].randomElement(using: &random)!
        wipes = members >= 3 ? [0, 0.3].randomElement(using: &random)! : 0
    }

    /// No faults any more, and no load.
    private init(healing plan: RaftFuzzPlan) {
        members = plan.members
        (loss, duplication, maxDelay, maxDiskDelay) = (0, 0, 1, 0)
        (crashes, cuts, pauses, wipes, proposals, forgeries) = (0, 0, 0, 0, 0, 0)
    }

    var healed: RaftFuzzPlan { RaftFuzzPlan(healing: self) }
}

/// What must have happened in some seed, or the run proves nothing.
enum RaftFuzzEvent: Int, CaseIterable {
    case leaderElected, leaderDeposed, messageLost, messageDuplicated, staleTermDelivered
    case crashed, voteLostInCrash, groupTorn, diskWiped, storeRecorded, writeOvertaken
    case logTruncated, appendRejected, fetchServed, commandApplied, readConfirmed, readConfirmedByFollower
    case forgeryRefused
}

/// How often each event happened. A plain value.
struct RaftFuzzCounts: Equatable {
    private var counts = Array(repeating: 0, count: RaftFuzzEvent.allCases.count)

    subscript(event: RaftFuzzEvent) -> Int {
        get { counts[event.rawValue] }
        set { counts[event.rawValue] = newValue }
    }

    mutating func add(_ other: RaftFuzzCounts) {
        for event in RaftFuzzEvent.allCases { self[event] += other[event] }
    }
}
