import NIOCore
import Synchronization

/// The way of inputs from any thread to a node's loop: gathered under a short lock, handed over in one wake-up for as
/// many as came before it. Usable from any thread.
///
/// It is bounded by its senders: a gateway has one request in progress for each connection, and the node a bounded
/// number of jobs.
final class LoopInbox: NodeInbox {
    private struct State {
        var inputs: [NodeInput] = []
        var isClosed = false
    }

    private let eventLoop: any EventLoop
    private let state = Mutex(State())
    /// Set once, on the loop, before the first input is posted.
    private let receiver: NIOLoopBoundBox<NodeLoop?>

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        self.receiver = .makeBoxSendingValue(nil, eventLoop: eventLoop)
    }

    /// On the loop.
    func connect(to loop: NodeLoop) {
        receiver.value = loop
    }

    func post(_ input: NodeInput) {
        _ = offer(input)
    }

    /// - Returns: false if the node is closed and the input will reach nobody.
    func offer(_ input: NodeInput) -> Bool {
        let (isTaken, isFirst) = state.withLock { state in
            if state.isClosed { return (false, false) }
            state.inputs.append(input)
            return (true, state.inputs.count == 1)
        }
        if isFirst { eventLoop.execute { [self] in receiver.value?.drain() } }
        return isTaken
    }

    func takeAll(into inputs: inout [NodeInput]) {
        state.withLock { swap(&$0.inputs, &inputs) }
    }

    /// After the node is closed nothing may reach it, nor be kept for it.
    func close() {
        state.withLock { state in
            state.isClosed = true
            state.inputs.removeAll()
        }
    }
}
