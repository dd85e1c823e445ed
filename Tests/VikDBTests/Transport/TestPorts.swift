import Glibc
import Synchronization

/// Ports for listeners that are started again: below 32768, where the kernel takes no ports for outgoing connections,
/// so that no other test's connection has it meanwhile. None is given out twice.
enum TestPorts {
    private static let next = Mutex(12_000 + Int(getpid()) * 37 % 6_000)

    static func take() -> Int {
        next.withLock { next in
            for _ in 0..<8_000 {
                let port = next
                next = next == 19_999 ? 12_000 : next + 1
                if isFree(port) { return port }
            }
            preconditionFailure("no port between 12000 and 19999 is free")
        }
    }

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
