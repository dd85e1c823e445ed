import NIOCore
import VikWire

/// The files of a directory of tables as text.
extension FileDump {
    func table() throws(StorageError) {
        let table = try TableFile(file, expecting: nil)
        let footer = table.footer
        out("table \(table.number), format \(TableFooter.version), \(table.bytes) bytes")
        for (name, handle) in [("index", footer.index), ("filter", footer.filter), ("properties", footer.properties)] {
            out("footer: \(name) block at offset \(handle.offset), \(count(handle.length, "byte"))")
        }
        // A damaged block keeps none of the others from being shown.
        var failure: StorageError?
        func attempt(_ step: () throws(StorageError) -> Void) {
            do throws(StorageError) {
                try step()
            } catch {
                out("damaged: \(error)")
                failure = failure ?? error
            }
        }
        attempt { () throws(StorageError) in
            let properties = try table.properties(expecting: nil)
            out(
                "properties: entries \(properties.entries), tombstones \(properties.tombstones), bytes of keys "
                    + "\(properties.keyBytes), bytes of values \(properties.valueBytes), newest index "
                    + "\(properties.newestIndex)")
        }
        attempt { () throws(StorageError) in
            let block = try table.block(footer.filter, .filter)
            let filter = withExtendedLifetime(block) { [UInt8](block.bytes) }
            let set = filter.reduce(0) { $0 + $1.nonzeroBitCount }
            out(
                "filter: \(count(filter.count / BloomFilter.lineBytes, "line")), \(set) of \(filter.count * 8) bits set"
            )
        }
        var handles: [BlockHandle] = []
        attempt { () throws(StorageError) in handles = try index(table) }
        var (shown, hidden) = (0, 0)
        for handle in handles {
            attempt { () throws(StorageError) in try show(handle, of: table, &shown, &hidden) }
        }
        more(hidden, of: "keys")
        if let failure { throw failure }
    }

    private func index(_ table: TableFile) throws(StorageError) -> [BlockHandle] {
        var handles: [BlockHandle] = []
        var entry = BlockCursor()
        entry.open(try table.block(table.footer.index, .index))
        entry.seekToFirst()
        while entry.isValid {
            let handle = try table.dataHandle(entry.value)
            if !isBeyondLimit(handles.count) {
                out(
                    "index: block at offset \(handle.offset), \(count(handle.length, "byte")), keys up to "
                        + internalKey(entry.key))
            }
            handles.append(handle)
            entry.next()
        }
        if let items = limits.items { more(handles.count - items, of: "blocks") }
        return handles
    }

    private func show(
        _ handle: BlockHandle, of table: TableFile, _ shown: inout Int, _ hidden: inout Int
    ) throws(StorageError) {
        let compression = try table.storedBlock(handle, .data).compression
        let block = try table.block(handle, .data)
        if !isBeyondLimit(shown) {
            out(
                "block at offset \(handle.offset): "
                    + (compression == .none ? "" : "\(compression), \(handle.length) bytes for ")
                    + "\(block.bytes.count) bytes")
        }
        var entry = BlockCursor()
        entry.open(block)
        entry.seekToFirst()
        while entry.isValid {
            if isBeyondLimit(shown) {
                hidden += 1
            } else {
                shown += 1
                out(
                    "  \(internalKey(entry.key)) "
                        + (InternalKey.isDelete(entry.key) ? "delete" : "put \(quoted(entry.value))"))
            }
            entry.next()
        }
    }

    func manifest() throws(StorageError) {
        let bytes = try Manifest.readAll(file)
        guard let number = ManifestFormat.number(in: bytes) else {
            throw .corrupt(path: file.path, offset: 0, reason: "it is too short for a manifest")
        }
        out("manifest \(number), format \(ManifestFormat.version), \(bytes.readableBytes) bytes")
        var (shown, hidden) = (0, 0)
        // How much of it must be there, CURRENT says.
        let (catalog, end) = try ManifestFormat(number: number, path: file.path).replay(bytes, durable: 0) { record in
            if isBeyondLimit(shown) {
                hidden += 1
            } else {
                shown += 1
                show(record)
            }
        }
        more(hidden, of: "records")
        let torn = UInt64(bytes.readableBytes) - end
        out("offset \(end): " + (torn == 0 ? "the end" : "\(torn) bytes that are no whole record"))
        out(
            "tables of entries up to \(catalog.flushed.index), term \(catalog.flushed.term)"
                + (catalog.installed > 0 ? "; a snapshot of \(catalog.installed) was installed" : ""))
        for (level, tables) in catalog.levels.enumerated() where !tables.isEmpty {
            out("level \(level): " + tables.map { "\($0.number)" }.joined(separator: ", "))
        }
    }

    private func show(_ record: ManifestFormat.Record) {
        out("offset \(record.offset): \(record.edit == nil ? "mark" : "edit"), durable to \(record.durable)")
        guard let edit = record.edit else { return }
        if let flushed = edit.flushed { out("  flushed up to entry \(flushed.index) of term \(flushed.term)") }
        if let installed = edit.installed { out("  installed a snapshot of entry \(installed)") }
        out("  next file number \(edit.nextFileNumber)")
        for number in edit.removed { out("  removes table \(number)") }
        for placed in edit.added {
            let table = placed.table
            out(
                "  adds table \(table.number) on level \(placed.level): \(count(table.fileBytes, "byte")), entries "
                    + "\(table.entries), \(internalKey(table.smallest)) to \(internalKey(table.largest))")
        }
    }

    func current() throws(StorageError) {
        let current = try CurrentFile.read(try Manifest.readAll(file), path: file.path)
        out(
            "CURRENT, format \(CurrentFile.version): \(EngineFile.manifest(current.manifest).name), durable to "
                + "\(current.durableBytes)")
    }
}
