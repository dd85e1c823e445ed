// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// The tests' own code is built without optimisation, which takes minutes off a build; what they test is optimised.
let tests: [SwiftSetting] = strict + [.unsafeFlags(["-Onone"])]

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let atomics: Target.Dependency = .product(name: "Atomics", package: "swift-atomics")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")

let package = Package(
    name: "VikDB",
    products: [
        .executable(name: "vikdb", targets: ["VikDBMain"]),
        .executable(name: "vikbench", targets: ["VikBench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections.git", exact: "1.6.0"),
        .package(url: "https://github.com/apple/swift-atomics.git", exact: "1.3.0"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto.git", exact: "4.5.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift.git", exact: "0.2.0"),
    ],
    targets: [
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"])]),
        .systemLibrary(name: "CLinux"),
        .target(name: "VikWire", dependencies: ["CZlib", "CDeflate", nioCore], swiftSettings: strict),
        .target(
            name: "VikDB",
            dependencies: ["CLinux", "VikWire", nioCore, nioPosix, nioHTTP1, logging, deque, atomics, crypto],
            swiftSettings: strict),
        .executableTarget(
            name: "VikDBMain", dependencies: ["VikDB", "VikWire", nioCore, nioPosix, logging, arguments],
            path: "Sources/vikdb", swiftSettings: strict),
        .executableTarget(
            name: "VikBench",
            dependencies: ["VikDB", "VikWire", nioCore, nioPosix, nioHTTP1, logging, arguments, histogram],
            path: "Sources/vikbench", swiftSettings: strict),
        .target(
            name: "VikTestSupport", dependencies: ["VikDB", "VikWire", nioCore, logging],
            path: "Tests/VikTestSupport", swiftSettings: strict),
        .testTarget(
            name: "VikWireTests", dependencies: ["VikWire", "VikTestSupport", nioCore], swiftSettings: tests),
        .testTarget(
            name: "VikDBTests",
            dependencies: ["VikDB", "VikWire", "VikTestSupport", nioCore, nioPosix, nioHTTP1, logging],
            exclude: ["Raft/Scripts"], swiftSettings: tests),
        .testTarget(
            name: "SimulationTests",
            dependencies: ["VikDB", "VikWire", "VikTestSupport", nioCore, logging], swiftSettings: tests),
        .testTarget(
            name: "ProcessTests", dependencies: ["VikTestSupport", nioCore, nioPosix],
            exclude: ["Support/slow-disk.c"], swiftSettings: tests),
    ]
)
