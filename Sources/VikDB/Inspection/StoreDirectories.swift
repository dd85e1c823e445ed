/// Which directories of a stopped node are to be checked: that of its log, that of its tables, or both. A plain value.
package struct StoreDirectories: Equatable, Sendable {
    package var log: String?
    package var tables: String?

    package init(log: String? = nil, tables: String? = nil) {
        self.log = log
        self.tables = tables
    }

    /// Adds the directories that `path` is or has, told by the files in them: `./data/wal` is that of a log, and
    /// `./data` has one.
    package mutating func add(_ path: String, _ fileSystem: any FileSystem) throws(StoreDirectoriesError) {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        var found: [StoreDirectories]
        // Beside the other one, a directory of a store that has nothing but its identity has lost its files.
        var emptied: String?
        do throws(StorageError) {
            found = [try Self.kinds(of: path, fileSystem)]
            if found == [StoreDirectories()] {
                for name in try fileSystem.list(path) {
                    let child = path + "/" + name
                    // What cannot be listed is a file.
                    guard let kinds = try? Self.kinds(of: child, fileSystem) else { continue }
                    found.append(kinds)
                    if kinds == StoreDirectories(), StoreIdentity.isIn(child, fileSystem) { emptied = child }
                }
            }
        } catch {
            throw .storage(error)
        }
        found.removeAll { $0 == StoreDirectories() }
        guard !found.isEmpty else { throw .noStore(path) }
        for other in found {
            if let log, let same = other.log { throw .twice(log, same) }
            if let tables, let same = other.tables { throw .twice(tables, same) }
            log = log ?? other.log
            tables = tables ?? other.tables
        }
        if log == nil { log = emptied } else if tables == nil { tables = emptied }
    }

    /// What `path` itself is.
    private static func kinds(
        of path: String, _ fileSystem: any FileSystem
    ) throws(StorageError) -> StoreDirectories {
        let directory = try LogDirectory(path, fileSystem)
        let isLog = directory.hasHardState || !directory.segments.isEmpty
        let isTables = try !TableDirectory(path, fileSystem).files.isEmpty
        return StoreDirectories(log: isLog ? path : nil, tables: isTables ? path : nil)
    }
}

/// Why a directory cannot be checked.
package enum StoreDirectoriesError: Error, Equatable, Sendable, CustomStringConvertible {
    case storage(StorageError)
    case noStore(String)
    case twice(String, String)

    package var description: String {
        switch self {
        case .storage(let error): "\(error)"
        case .noStore(let path): "\(path) has no files of a log or of tables"
        case .twice(let first, let second): "\(first) and \(second) are of the same kind: check one node at a time"
        }
    }
}
