import Foundation

/// The folders of `Tests/Fixtures`: bytes that earlier builds wrote, which every later one must read.
package enum Fixtures {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../Fixtures").standardized

    /// The folder for files of one format, whether or not it is there.
    package static func folder(_ name: String) -> URL { root.appending(path: name) }

    /// Names of the folders that begin with `prefix`.
    package static func folders(prefix: String) -> [String] {
        contents(of: root).filter { $0.hasPrefix(prefix) }
    }

    /// Names in a folder, sorted; none if there is no such folder.
    package static func contents(of folder: URL) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).sorted()
    }
}
