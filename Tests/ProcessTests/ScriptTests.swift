import Glibc
import Testing

extension ProcessTests {
    /// The repository's scripts, with a stand-in for `swift`.
    @Suite struct ScriptTests {
        /// A filter that matches nothing must not pass for a success.
        @Test(arguments: [(0, Int32(1)), (1, 0), (120, 0)])
        func testScriptWantsTestsThatRan(count: Int, status: Int32) throws {
            let directory = TemporaryDirectory()
            defer { extendLifetime(directory) }
            let swift = directory.path + "/swift"
            TextFile.write(
                """
                #!/bin/sh
                if [ "$1" = test ]; then echo "✔ Test run with \(count) tests in 3 suites passed after 0.001 seconds."; fi
                """, to: swift)
            #expect(chmod(swift, 0o700) == 0)
            let run = try Finished("/usr/bin/env", ["SWIFT=\(swift)", "bash", Repository.root + "/scripts/test.sh"])
            #expect(run.exit == .code(status), "\(run.output)\(run.errors)")
            #expect(run.output.contains("no summary") == (status != 0))
        }
    }
}
