import VikWire

/// Who belongs to the cluster, as far as this log says. A plain value.
struct Membership {
    /// Every configuration in the log that may still matter, in log order: the newest committed one and all after it.
    private(set) var configurations: [IndexedConfiguration]
    /// What this node would write as the cluster's first entry, once every founder has answered as empty (design rule
    /// 9). It counts only while the log holds no configuration.
    var founding: Configuration?

    init(configurations: [IndexedConfiguration]) {
        self.configurations = configurations
    }

    /// The newest configuration, committed or not.
    var latest: Configuration? { configurations.last?.configuration ?? founding }
    var latestIndex: LogIndex { configurations.last?.index ?? 0 }

    /// The configuration whose stores count: the newest one known to be committed, so that a store takes a member's
    /// place only once a quorum of the others has agreed (design rule 10); while none is, the oldest in the log.
    func counting(commit: LogIndex) -> Configuration? {
        (committed(commit: commit) ?? configurations.first)?.configuration ?? founding
    }

    /// The newest configuration that this log proves to be committed: by the commit index, or by a later configuration,
    /// because a leader appends one only once that before it is committed (dissertation §4.1). The second proof survives
    /// a restart that lost the commit index.
    func committed(commit: LogIndex) -> IndexedConfiguration? {
        let followed = configurations.dropLast().last
        guard let known = newest(through: commit) else { return followed }
        guard let followed, followed.index > known.index else { return known }
        return followed
    }

    /// Every configuration in the log after the one that counts.
    func pending(commit: LogIndex) -> some Collection<IndexedConfiguration> {
        let counting = committed(commit: commit)?.index ?? configurations.first?.index ?? 0
        return configurations.drop { $0.index <= counting }
    }

    /// The configuration that counts and those after it, as far as they are durable here.
    func durable(commit: LogIndex, stable: LogIndex) -> some Collection<IndexedConfiguration> {
        let counting = newest(through: min(commit, stable))?.index ?? configurations.first?.index ?? 0
        return configurations.filter { $0.index >= counting && $0.index <= stable }
    }

    /// The newest configuration at or before `index`.
    func newest(through index: LogIndex) -> IndexedConfiguration? {
        configurations.last { $0.index <= index }
    }

    mutating func append(_ configuration: Configuration, at index: LogIndex) {
        configurations.append(IndexedConfiguration(index: index, configuration: configuration))
    }

    /// Rolls back with the log.
    mutating func truncate(from index: LogIndex) {
        configurations.removeAll { $0.index >= index }
    }

    /// Forgets what newer configurations, committed and durable here, have replaced.
    mutating func forgetReplaced(applicable: LogIndex) {
        guard let newest = configurations.lastIndex(where: { $0.index <= applicable }) else { return }
        configurations.removeFirst(newest)
    }
}
