import NIOCore
import Synchronization

/// The way of inputs from any thread to a node's loop: gathered under a short lock, handed over in one wake-up for as
/// many as came before it. Usable from any thread.
///
/// What jobs post is bounded by the jobs that are out. Requests have limits here: a gateway has one in progress for each
/// connection, but gives up waiting for a loop that hangs, and its clients come again.
package final class LoopInbox: NodeInbox {
    private struct State {
        var inputs: [NodeInput] = []
        /// Requests among them, and bytes of those.
        var requests = 0
        var requestBytes = 0
        var isClosed = false
    }

    /// The most requests that wait for one turn of the loop, and the most bytes in them.
    package struct Limits: Sendable {
        package var requests = 131_072
        package var bytes = 256 << 20

        package init() {}
    }

    package enum Offer: Sendable {
        case taken
        /// It will reach nobody: the node is closed, or has more requests than it may.
        case closed
        case full
    }

    private let eventLoop: any EventLoop
    private let limits: Limits
    private let state = Mutex(State())
    /// Set once, on the loop, before the first input is posted.
    private let receiver: NIOLoopBoundBox<NodeLoop?>

    package init(eventLoop: any EventLoop, limits: Limits = Limits()) {
        self.eventLoop = eventLoop
        self.limits = limits
        self.receiver = .makeBoxSendingValue(nil, eventLoop: eventLoop)
    }

    /// On the loop.
    func connect(to loop: NodeLoop) {
        receiver.value = loop
    }

    package func post(_ input: NodeInput) {
        let isFirst = state.withLock { state in
            if state.isClosed { return false }
            state.inputs.append(input)
            return state.inputs.count == 1
        }
        if isFirst { wake() }
    }

    /// A request, which has limits.
    ///
    /// - Parameter bytes: what it holds.
    package func offer(_ request: NodeInput, bytes: Int) -> Offer {
        let (offer, isFirst) = state.withLock { state -> (Offer, Bool) in
            if state.isClosed { return (.closed, false) }
            guard state.requests < limits.requests, state.requestBytes + bytes <= limits.bytes else {
                return (.full, false)
            }
            state.inputs.append(request)
            state.requests += 1
            state.requestBytes += bytes
            return (.taken, state.inputs.count == 1)
        }
        if isFirst { wake() }
        return offer
    }

    private func wake() {
        eventLoop.execute { [self] in receiver.value?.drain() }
    }

    package func takeAll(into inputs: inout [NodeInput]) {
        state.withLock { state in
            swap(&state.inputs, &inputs)
            state.requests = 0
            state.requestBytes = 0
        }
    }

    /// After the node is closed nothing may reach it, nor be kept for it.
    package func close() {
        state.withLock { state in
            state.isClosed = true
            state.inputs.removeAll()
        }
    }
}
