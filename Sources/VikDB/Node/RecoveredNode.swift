import NIOCore
import VikWire

/// A node's two stores, opened and made to agree, before the node runs. Opening is recovery: there is no other.
package struct RecoveredNode {
    package let log: LogStore
    package let engine: Engine
    package let state: RestoredState
    /// Measures the free space of both directories, whichever has less.
    let fileSystem: any FileSystem
    let directories: [String]

    /// Opens `logDirectory` and `tableDirectory`.
    ///
    /// - Throws: `StorageError.corrupt` with file and offset for damage, `.incompatible` if the two directories do not
    ///   belong together.
    package static func open(
        logDirectory: String, tableDirectory: String, fileSystem: any FileSystem, logOptions: LogOptions,
        engineOptions: EngineOptions
    ) throws(StorageError) -> RecoveredNode {
        let engine = try Engine.open(directory: tableDirectory, fileSystem: fileSystem, options: engineOptions)
        let (log, recovered) = try LogStore.open(
            directory: logDirectory, fileSystem: fileSystem, options: logOptions)
        var state = RestoredState()
        state.hardState = recovered.hardState

        let flushed = engine.flushed
        let agreement = try StoreAgreement(
            recovered, flushed: flushed, installed: engine.installedIndex, logDirectory: logDirectory,
            tableDirectory: tableDirectory)
        switch agreement {
        case .tablesReplacedTheLog:
            try log.reset(toFollow: flushed.index, term: flushed.term)
            state.baseIndex = flushed.index
            state.baseTerm = flushed.term
            state.lastIndex = flushed.index
        case .logFollowsTheTables:
            state.baseIndex = recovered.firstIndex - 1
            state.baseTerm = recovered.baseTerm
            state.lastIndex = recovered.lastIndex
            state.termRuns = recovered.termRuns
        }
        state.hardState.commit = max(state.hardState.commit, flushed.index)

        if let stored = try storedConfiguration(of: engine, path: tableDirectory) {
            state.configurations.append(stored)
        }
        let newestStored = state.configurations.last?.index ?? 0
        for entry in agreement == .tablesReplacedTheLog ? [] : recovered.configurations where entry.index > newestStored
        {
            state.configurations.append(
                IndexedConfiguration(
                    index: entry.index, configuration: try decode(entry.payload, path: logDirectory)))
        }
        return RecoveredNode(
            log: log, engine: engine, state: state, fileSystem: fileSystem,
            directories: [logDirectory, tableDirectory])
    }

    /// The configuration that the tables hold, after a snapshot was installed: there always is one.
    static func storedConfiguration(of engine: Engine) throws(StorageError) -> IndexedConfiguration {
        guard let stored = try storedConfiguration(of: engine, path: "the snapshot") else {
            throw .incompatible(path: "the snapshot", reason: "it has no configuration of the cluster")
        }
        return stored
    }

    private static func storedConfiguration(
        of engine: Engine, path: String
    ) throws(StorageError) -> IndexedConfiguration? {
        guard let stored = try engine.storedConfiguration() else { return nil }
        return IndexedConfiguration(
            index: stored.version, configuration: try decode(ByteBuffer(bytes: stored.bytes), path: path))
    }
}

private func decode(_ payload: ByteBuffer, path: String) throws(StorageError) -> Configuration {
    do {
        return try Configuration(from: payload)
    } catch {
        throw .incompatible(path: path, reason: "its configuration entry cannot be read: \(error)")
    }
}
