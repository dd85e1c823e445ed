/// The engine's files that a directory has. A plain value.
struct TableDirectory {
    let path: String
    /// In the order of their names; those of others are left out.
    let files: [EngineFile]

    init(_ path: String, _ fileSystem: any FileSystem) throws(StorageError) {
        self.path = path
        files = try fileSystem.list(path).compactMap(EngineFile.init(name:))
    }

    var tables: [UInt64] {
        files.compactMap { if case .table(let number) = $0 { number } else { nil } }
    }

    /// Above all numbers in use; ``checkNumbers()`` has passed.
    var nextNumber: UInt64 { (files.compactMap(\.number).max() ?? 0) + 1 }

    func checkNumbers() throws(StorageError) {
        for file in files {
            guard let number = file.number, number > EngineFile.maxNumber else { continue }
            throw .incompatible(
                path: file.path(in: path), reason: "no file is given a number above \(EngineFile.maxNumber)")
        }
    }

    /// No table is written before there is a manifest, so without CURRENT none may be there.
    func checkWithoutCurrent() throws(StorageError) {
        guard let table = tables.first else { return }
        throw .corrupt(
            path: EngineFile.current.path(in: path), offset: 0,
            reason: "it is missing, but there are tables such as \(EngineFile.table(table).name)")
    }

    /// What is of no use beside the live `tables` and the manifest that counts.
    func leftovers(tables: Set<UInt64>, manifest: UInt64) -> [EngineFile] {
        files.filter { file in
            switch file {
            case .current: false
            case .currentTemporary: true
            case .manifest(let number): number != manifest
            case .table(let number): !tables.contains(number)
            }
        }
    }
}
