import VikWire

/// Verifies all files of a stopped engine and changes none of them; what a start or a later read would refuse is a
/// problem. A plain value, made by one job.
package struct EngineCheck {
    package private(set) var current = Findings("CURRENT")
    package private(set) var manifest = Findings("manifest")
    /// The manifest against the directory.
    package private(set) var names = Findings("files of the manifest")
    package private(set) var tables = Findings("tables")
    package private(set) var leftovers = Findings("leftovers")
    /// Up to which entry of the log the tables hold everything, and the last snapshot that was installed; nil if the
    /// manifest cannot be read.
    package private(set) var position: (flushed: FlushedPosition, installed: LogIndex)?

    private let path: String
    private let fileSystem: any FileSystem

    /// - Throws: if the directory cannot be listed.
    package init(
        directory path: String, fileSystem: any FileSystem, progress: CheckProgress
    ) throws(StorageError) {
        self.path = path
        self.fileSystem = fileSystem
        let directory = try TableDirectory(path, fileSystem)
        if let (catalog, number) = readManifest(directory) {
            position = (catalog.flushed, catalog.installed)
            let live = Array(catalog.levels.joined())
            checkNames(directory, catalog, live, manifest: number)
            checkTables(live.map { ($0.number, $0) }, newest: catalog.flushed.index, progress)
        } else {
            names.summary = "not checked without a manifest"
            checkTables(directory.tables.map { ($0, nil) }, newest: nil, progress)
        }
    }

    /// Nil if there is none that can be read.
    private mutating func readManifest(
        _ directory: TableDirectory
    ) -> (catalog: TableCatalog, number: UInt64)? {
        let (path, fileSystem) = (path, fileSystem)
        let read = current.attempt { () throws(StorageError) in
            let current = try Manifest.current(in: path, fileSystem)
            if current == nil { try directory.checkWithoutCurrent() }
            return current
        }
        guard let read else {
            manifest.summary = "not checked, CURRENT would name it"
            return nil
        }
        guard let current = read else {
            self.current.summary = "none yet, the next start makes it"
            manifest.summary = "none yet"
            return (TableCatalog(), 0)
        }
        self.current.summary = "\(EngineFile.manifest(current.manifest).name), durable to \(current.durableBytes)"
        var edits = 0
        let loaded = manifest.attempt { () throws(StorageError) in
            try Manifest.load(current, from: path, fileSystem) { edits += $0.edit == nil ? 0 : 1 }
        }
        guard let loaded else { return nil }
        let flushed = loaded.catalog.flushed
        manifest.summary =
            "\(edits) edit\(edits == 1 ? "" : "s"), tables hold everything up to entry \(flushed.index) of term "
            + "\(flushed.term)"
        if loaded.tornBytes > 0 {
            manifest.note(
                "\(EngineFile.manifest(current.manifest).path(in: path)), offset \(loaded.end): the last "
                    + "\(loaded.tornBytes) bytes are no whole record; a crash leaves this, and nothing was built on it"
            )
        }
        return (loaded.catalog, current.manifest)
    }

    private mutating func checkNames(
        _ directory: TableDirectory, _ catalog: TableCatalog, _ live: [TableMetadata], manifest: UInt64
    ) {
        names.attempt { () throws(StorageError) in try directory.checkNumbers() }
        let present = Set(directory.tables)
        for table in live where !present.contains(table.number) {
            names.add(TableFiles.missing(EngineFile.table(table.number).path(in: path)))
        }
        let levels = catalog.levels.enumerated().filter { !$0.element.isEmpty }
            .map { "\($0.element.count) on level \($0.offset)" }
        names.summary = levels.isEmpty ? "no table" : "tables: " + levels.joined(separator: ", ")
        for file in directory.leftovers(tables: Set(live.map(\.number)), manifest: manifest) {
            leftovers.note("\(file.path(in: path)): the manifest does not name it, the next start removes it")
        }
    }

    private mutating func checkTables(
        _ files: [(number: UInt64, metadata: TableMetadata?)], newest: LogIndex?, _ progress: CheckProgress
    ) {
        var (entries, blocks) = (UInt64(0), 0)
        let fileSystem = fileSystem
        for (number, metadata) in files {
            let path = EngineFile.table(number).path(in: path)
            // That it is missing was said.
            guard fileSystem.exists(path) else { continue }
            let file = tables.attempt { () throws(StorageError) in
                try TableFile(try fileSystem.open(path, .read), expecting: metadata)
            }
            guard let file else { continue }
            var check = TableCheck(file, metadata: metadata, newest: newest)
            check.run(&tables, progress)
            entries += check.counted.entries
            blocks += check.blocks
        }
        tables.summary =
            "\(files.count) table\(files.count == 1 ? "" : "s"), \(blocks) data block\(blocks == 1 ? "" : "s"), "
            + "\(entries) entr\(entries == 1 ? "y" : "ies"): blocks, indexes, filters, order of keys, properties"
    }
}
