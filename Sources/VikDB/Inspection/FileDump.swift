import NIOCore
import VikWire

/// Shows one file of a store as text, whatever it is called: `vikdb dump`. Reads through the readers that a start uses.
/// A plain value of one thread.
package struct FileDump {
    /// How much is shown. A plain value.
    package struct Limits: Sendable {
        /// Items of each list: entries of a log, keys and blocks of a table, records of a manifest; nil: all.
        package var items: Int?
        /// Bytes of each key and value.
        package var bytes: Int

        package init(items: Int?, bytes: Int) {
            self.items = items
            self.bytes = bytes
        }
    }

    private enum Kind {
        case segment, hardState, manifest, current, identity, table
    }

    let file: any File
    let limits: Limits
    let out: (String) -> Void

    /// Shows the file at `path`, line by line.
    ///
    /// - Returns: false, with nothing shown, if it is no file of a store.
    /// - Throws: what is wrong with the file, after what could be shown.
    package static func run(
        _ path: String, fileSystem: any FileSystem, limits: Limits, out: @escaping (String) -> Void
    ) throws(StorageError) -> Bool {
        let file = try fileSystem.open(path, .read)
        guard let kind = try kind(of: file) else { return false }
        let dump = FileDump(file: file, limits: limits, out: out)
        switch kind {
        case .segment: try dump.segment()
        case .hardState: try dump.hardState()
        case .manifest: try dump.manifest()
        case .current: try dump.current()
        case .identity: try dump.identity()
        case .table: try dump.table()
        }
        return true
    }

    /// By what the file begins or ends with; by its name if that is damaged.
    private static func kind(of file: any File) throws(StorageError) -> Kind? {
        switch try file.bytes(at: 0, count: 8).getInteger(at: 0, as: UInt64.self) {
        case LogSegment.magic: return .segment
        case HardStateFile.magic: return .hardState
        case ManifestFormat.magic: return .manifest
        case CurrentFile.magic: return .current
        case StoreIdentity.magic: return .identity
        default: break
        }
        let size = try file.size()
        if size >= 8, try file.bytes(at: size - 8, count: 8).getInteger(at: 0) == TableFooter.magic { return .table }
        let name = String(
            file.path[(file.path.lastIndex(of: "/").map(file.path.index(after:)) ?? file.path.startIndex)...])
        switch EngineFile(name: name) {
        case .table: return .table
        case .manifest: return .manifest
        case .current: return .current
        case .currentTemporary, nil: break
        }
        if LogSegment.number(fileName: name) != nil { return .segment }
        if name == HardStateFile.fileName { return .hardState }
        return name == StoreIdentity.fileName ? .identity : nil
    }

    // MARK: What several kinds need

    /// Bytes in quotes: printable ASCII as it is, anything else escaped; no more than the limit.
    func quoted(_ bytes: some Collection<UInt8>) -> String {
        var text = "\""
        for byte in bytes.prefix(limits.bytes) {
            switch byte {
            case UInt8(ascii: "\""): text += "\\\""
            case UInt8(ascii: "\\"): text += "\\\\"
            case UInt8(ascii: "\n"): text += "\\n"
            case UInt8(ascii: "\t"): text += "\\t"
            case 0x20...0x7e: text.unicodeScalars.append(Unicode.Scalar(byte))
            default: text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
        return text + "\"" + (bytes.count > limits.bytes ? "… (\(count(bytes.count, "byte")))" : "")
    }

    func internalKey(_ key: some RandomAccessCollection<UInt8>) -> String {
        Array(key).withUnsafeBytes { key in
            let stem = InternalKey.stem(key)
            let ordinal = key.loadUnaligned(fromByteOffset: stem.count + 8, as: UInt32.self).bigEndian
            return "\(KeySpace(rawValue: stem[0]).map { "\($0)" } ?? "space \(stem[0])") \(quoted(stem.dropFirst())) "
                + "@\(InternalKey.index(key)).\(ordinal)"
        }
    }

    func isBeyondLimit(_ count: Int) -> Bool {
        limits.items.map { count >= $0 } ?? false
    }

    /// Says how many items of a list were left out.
    func more(_ count: Int, of items: String) {
        if count > 0 { out("… and \(count) \(items) more") }
    }

    func count(_ number: some BinaryInteger, _ thing: String) -> String {
        "\(number) \(thing)\(number == 1 ? "" : "s")"
    }
}
