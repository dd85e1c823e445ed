import Glibc
import NIOCore

/// The text of an errno.
package func errorText(_ code: Int32) -> String {
    String(cString: strerror(code))
}

/// What to tell a person of an error: for one of the system, its errno's text without the name of a function.
package func errorText(of error: any Error) -> String {
    if let error = error as? IOError { errorText(error.errnoCode) } else { "\(error)" }
}
