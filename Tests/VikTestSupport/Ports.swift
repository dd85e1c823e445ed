import Glibc
import Synchronization

/// Free ports for listeners: below 32768, where the kernel takes no ports for outgoing connections, so that a port
/// found free stays free until a node listens on it. None is given out twice.
package enum Ports {
    private static let next = Mutex(20_000 + Int(getpid()) * 37 % 8_000)

    package static func take(_ count: Int) -> [Int] {
        (0..<count).map { _ in take() }
    }

    package static func take() -> Int {
        next.withLock { next in
            for _ in 0..<12_000 {
                let port = next
                next = next == 31_999 ? 20_000 : next + 1
                if isFree(port) { return port }
            }
            preconditionFailure("no port between 20000 and 31999 is free")
        }
    }

    /// Without SO_REUSEADDR, so that ports with connections in TIME_WAIT are left alone.
    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        precondition(descriptor >= 0, "cannot open a socket")
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
