import NIOCore
import VikWire

/// The files of a log's directory as text.
extension FileDump {
    func segment() throws(StorageError) {
        let head = try LogSegment(from: file, number: nil)
        out("log segment \(head.number), format \(LogSegment.version), \(head.size) bytes")
        out("the oldest segment of the log is \(head.oldest), the one before this ends at \(head.predecessorEnd)")
        out("the log follows entry \(head.base.index) of term \(head.base.term)")
        var reader = LogRecordReader(
            file: file, segment: head.number, from: LogSegment.headerBytes, limit: head.size,
            windowBytes: LogScan.windowBytes)
        var (shown, hidden) = (0, 0)
        reading: while true {
            let offset = reader.offset
            switch try reader.next() {
            case .record(let record):
                try show(record, &shown, &hidden)
            case .end:
                more(hidden, of: "entries")
                out("offset \(offset): no record follows")
                break reading
            case .damaged(let reason):
                more(hidden, of: "entries")
                out("offset \(offset): no whole record: \(reason)")
                break reading
            }
        }
    }

    private func show(_ record: LogRecord, _ shown: inout Int, _ hidden: inout Int) throws(StorageError) {
        let entries = try record.entries(path: file.path)
        guard entries.isEmpty || !isBeyondLimit(shown) else {
            hidden += entries.count
            return
        }
        let kind =
            switch record.kind {
            case .entries: "entries"
            case .endMark: "the mark of a clean close"
            }
        out(
            "offset \(record.position.offset): \(kind), \(record.end - record.position.offset) bytes, durable to "
                + "\(record.durable)")
        for entry in entries {
            guard !isBeyondLimit(shown) else {
                hidden += 1
                continue
            }
            shown += 1
            show(entry)
        }
    }

    private func show(_ entry: Entry) {
        let start = "  entry \(entry.index), term \(entry.term): "
        switch entry.kind {
        case .noOp:
            out(start + "no operation")
        case .configuration:
            do throws(WireError) {
                let configuration = try Configuration(from: entry.payload)
                out(start + "configuration of cluster \(configuration.incarnation)")
                for member in configuration.members {
                    out(
                        "    \(member.role) \(member.id) \(quoted(member.label.utf8)) at \(member.address), store "
                            + "\(member.store)")
                }
            } catch {
                out(start + "configuration that cannot be read: \(error)")
            }
        case .command:
            out(start + "command, \(count(entry.payload.readableBytes, "byte"))")
            do throws(WireError) {
                try Command.forEachOperation(in: entry.payload) { _, key, value in
                    out(value.map { "    put \(quoted(key)) \(quoted($0))" } ?? "    delete \(quoted(key))")
                }
            } catch {
                out("    what follows cannot be read: \(error)")
            }
        }
    }

    func hardState() throws(StorageError) {
        out("hard state, format \(HardStateFile.version), two slots of two copies")
        let copies = try HardStateFile.copies(in: file)
        for (number, copy) in copies.enumerated() {
            let start = "offset \(HardStateFile.offset(copy: number)): "
            guard let copy else {
                out(start + "not whole")
                continue
            }
            out(
                start + "save \(copy.sequence), term \(copy.state.term), vote \(copy.state.vote), commit index "
                    + "\(copy.state.commit), log durable to \(copy.logDurable)")
        }
        out("save \(try HardStateFile.newest(of: copies, path: file.path).sequence) counts")
    }

    func identity() throws(StorageError) {
        out("store \(try StoreIdentity.read(file))")
    }
}
