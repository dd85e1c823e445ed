import NIOCore
import VikWire

/// Asks one member who this node is, on a connection of its own (`proto-spec.md`, Joining).
///
/// Bound to the loop that it is used on.
package final class JoinClient: PeerConnectionOwner {
    package struct Answer: Sendable {
        package let reply: JoinReply
        /// The address of this machine that reached the member.
        package let ownHost: String?
    }

    /// Why there was no answer: `cause` is the same words for the same cause.
    package struct Failure: Error, CustomStringConvertible {
        package let cause: String
        package let description: String

        init(_ ending: PeerConnection.Ending) {
            cause = ending.cause
            description = ending.description
        }
    }

    private let member: PeerAddress
    private let request: JoinRequest
    private let promise: EventLoopPromise<Answer>
    private var ownHost: String?
    private var answer: Answer?

    private init(_ member: PeerAddress, _ request: JoinRequest, promise: EventLoopPromise<Answer>) {
        self.member = member
        self.request = request
        self.promise = promise
    }

    /// The answer comes, or a ``Failure``, within the time of a look-up and twice that of a handshake, and further
    /// addresses of the member may take as long as a handshake each.
    package static func ask(
        _ member: PeerAddress, _ request: JoinRequest, on eventLoop: any EventLoop, options: TransportOptions
    ) -> EventLoopFuture<Answer> {
        let client = JoinClient(member, request, promise: eventLoop.makePromise())
        member.dial { client.dialled($0, options) }
        return client.promise.futureResult
    }

    private func dialled(_ result: Result<any NIOCore.Channel, PeerConnection.Ending>, _ options: TransportOptions) {
        switch result {
        case .failure(let ending): promise.fail(Failure(ending))
        case .success(let socket):
            ownHost = socket.localAddress?.ipAddress
            guard socket.isActive else { return promise.fail(Failure(.closedByPeer)) }
            let connection = PeerConnection(as: .dialler, expecting: .joinReply, options: options, owner: self)
            do {
                try socket.pipeline.syncOperations.addHandler(connection)
            } catch {
                connection.end(PeerConnection.Ending(cause: errorText(of: error)))
            }
        }
    }

    // MARK: PeerConnectionOwner

    func connectionBegan(_ connection: PeerConnection) {}

    func connectionMayGreet(_ connection: PeerConnection) {
        var bytes = ByteBuffer()
        FrameEncoder.write(request, into: &bytes)
        connection.write(bytes)
    }

    func connection(_ connection: PeerConnection, received frame: Frame) throws(WireError) {
        answer = Answer(reply: try JoinReply(from: frame), ownHost: ownHost)
        connection.end(.joinAnswered)
    }

    func connectionReadComplete(_ connection: PeerConnection) {}

    func connectionEnded(_ connection: PeerConnection, _ ending: PeerConnection.Ending) {
        if let answer {
            member.reached(at: connection.remoteAddress)
            promise.succeed(answer)
        } else {
            member.disappointed(by: connection.remoteAddress)
            promise.fail(Failure(ending == .closedByPeer ? .unanswered : ending))
        }
    }
}
