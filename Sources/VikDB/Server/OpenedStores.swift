import Logging
import VikWire

/// A node's two directories, locked and recovered, before it is known who the node is. Made and handed on by one
/// thread.
package struct OpenedStores {
    let identity: StoreIdentity
    let recovered: RecoveredNode

    /// Opens both directories, and makes them at the first start. Blocks until the log is recovered.
    package static func open(_ settings: NodeSettings, logger: Logger) throws(StartError) -> OpenedStores {
        let fileSystem = PosixFileSystem(
            shortage: DescriptorShortage { path, code in
                logger.error(
                    "a file cannot be opened: the node waits for a file descriptor",
                    metadata: ["file": "\(path)", "error": "\(errorText(code))"])
            })
        // By other names, the lock of the one would look like another node's.
        guard
            fileSystem.canonicalPath(settings.logDirectory) != fileSystem.canonicalPath(settings.tableDirectory)
        else {
            throw .flags(
                "-wal-path \(settings.logDirectory) and -sstable-dir \(settings.tableDirectory) are the same directory: "
                    + "they must be two")
        }
        do throws(StorageError) {
            // Also where all else comes from a seed: nodes that were given the same one are different stores.
            var system = SystemRandomNumberGenerator()
            let identity = try StoreIdentity.open(
                walDirectory: settings.logDirectory, tableDirectory: settings.tableDirectory,
                fileSystem: fileSystem, using: &system)
            let recovered = try RecoveredNode.open(
                logDirectory: settings.logDirectory, tableDirectory: settings.tableDirectory,
                fileSystem: fileSystem, logOptions: settings.log, engineOptions: settings.engine)
            return OpenedStores(identity: identity, recovered: recovered)
        } catch {
            guard case .full(let path) = error else { throw .storage(error) }
            // One may lie in the other.
            let directory = [settings.logDirectory, settings.tableDirectory].filter { (path + "/").hasPrefix($0 + "/") }
                .max { $0.utf8.count < $1.utf8.count }
            throw .full(
                path: path, free: try? fileSystem.availableBytes(directory ?? settings.tableDirectory),
                needed: settings.node.minFreeBytes)
        }
    }

    /// The newest configuration in the stores, committed or not.
    var configuration: Configuration? { recovered.state.configurations.last?.configuration }

    /// What the cluster must be asked before the node can start; nil: who it is stands in its stores or its flags.
    ///
    /// A node that joined and was stopped before its log reached the entry that added it has to ask again.
    package func joinRequest(_ settings: NodeSettings) throws(StartError) -> JoinRequest? {
        guard let replication = settings.replication, case .joining = replication.start else { return nil }
        if let configuration,
            try StoredIdentity.member(of: identity.id, replication.label, isReplicated: true, in: configuration) != nil
        {
            return nil
        }
        return JoinRequest(store: identity.id, label: replication.label)
    }
}
