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

        // The engine holds whole committed entries up to `flushed`. The log must reach at least as far, or start anew
        // after it (design rule 18); where both have an entry they must agree.
        let flushed = engine.flushed
        if recovered.lastIndex < flushed.index {
            try log.reset(toFollow: flushed.index, term: flushed.term)
            state.baseIndex = flushed.index
            state.baseTerm = flushed.term
            state.lastIndex = flushed.index
        } else {
            guard recovered.firstIndex <= flushed.index + 1 else {
                throw .incompatible(
                    path: tableDirectory,
                    reason: "its tables end at entry \(flushed.index), but the log in \(logDirectory) starts at entry "
                        + "\(recovered.firstIndex): the two directories do not belong together")
            }
            state.baseIndex = recovered.firstIndex - 1
            state.baseTerm = recovered.baseTerm
            state.lastIndex = recovered.lastIndex
            state.termRuns = recovered.termRuns
        }
        state.hardState.commit = max(state.hardState.commit, flushed.index)
        state.hardState.term = max(state.hardState.term, flushed.term)

        if let stored = try engine.storedConfiguration() {
            state.configurations.append(
                IndexedConfiguration(
                    index: stored.version,
                    configuration: try decode(ByteBuffer(bytes: stored.bytes), path: tableDirectory)))
        }
        for entry in recovered.configurations where entry.index > state.configurations.last?.index ?? 0 {
            state.configurations.append(
                IndexedConfiguration(
                    index: entry.index, configuration: try decode(entry.payload, path: logDirectory)))
        }
        return RecoveredNode(
            log: log, engine: engine, state: state, fileSystem: fileSystem,
            directories: [logDirectory, tableDirectory])
    }
}

private func decode(_ payload: ByteBuffer, path: String) throws(StorageError) -> Configuration {
    do {
        return try Configuration(from: payload)
    } catch {
        throw .incompatible(path: path, reason: "its configuration entry cannot be read: \(error)")
    }
}
