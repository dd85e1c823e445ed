import Glibc
import NIOCore
import NIOPosix

/// Finds the addresses that a name stands for, their port 0. May block for as long as it likes: it runs on a thread of
/// its own, that nobody waits for.
package typealias HostLookUp = @Sendable (_ host: String) throws(HostLookUpError) -> [SocketAddress]

package struct HostLookUpError: Error, Equatable {
    /// The same words for the same cause.
    package let reason: String

    package init(_ reason: String) {
        self.reason = reason
    }
}

/// The system's own way to look names up: /etc/hosts, DNS and whatever else the machine is set up with.
package enum SystemHosts {
    /// Further addresses of a name are left out.
    static let maxAddresses = 16

    @Sendable package static func lookUp(_ host: String) throws(HostLookUpError) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, nil, &hints, &list)
        guard code == 0 else { throw HostLookUpError(String(cString: gai_strerror(code))) }
        defer { freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var next = list
        while let entry = next?.pointee, addresses.count < maxAddresses {
            next = entry.ai_next
            guard let bytes = UnsafeRawPointer(entry.ai_addr) else { continue }
            switch entry.ai_family {
            case AF_INET: addresses.append(SocketAddress(bytes.loadUnaligned(as: sockaddr_in.self)))
            case AF_INET6: addresses.append(SocketAddress(bytes.loadUnaligned(as: sockaddr_in6.self)))
            default: break
            }
        }
        return addresses
    }
}
