import Testing

/// Tests with real nodes: `vikdb` processes, sockets, files, signals. One at a time, because each counts on the times
/// of elections.
///
/// What owns processes, directories or network devices gives them up when its last reference goes. Swift may let go
/// right after the last use, so a test extends each such lifetime to its own end.
@Suite(.serialized, .timeLimit(.minutes(4)))
enum ProcessTests {}
