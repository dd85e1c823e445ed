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

    /// The configuration whose stores count: the newest committed one, so that a store takes a member's place only
    /// once a quorum of the others has agreed (design rule 10); before the first is known to be committed, as it is
    /// after a restart too, the oldest.
    func counting(commit: LogIndex) -> Configuration? {
        (newest(through: commit) ?? configurations.first)?.configuration ?? founding
    }

    /// Every configuration in the log after the one that counts.
    func pending(commit: LogIndex) -> some Collection<IndexedConfiguration> {
        let counting = newest(through: commit)?.index ?? configurations.first?.index ?? 0
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
