// swift-tools-version: 6.2
import PackageDescription

// One place for how every Skein target is compiled: Swift 6 mode, strict memory safety, the import
// list as the architecture, and no warning left standing.
let base: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

// Tests may poke where users may not, and say so less often.
let tests: [SwiftSetting] = [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]

// A target is a station, and a message passes the stations in one direction:
//   in    socket → SkeinIO → Skein (SkeinWire decodes) → SkeinServices → router → backplane
//   out   backplane → router → shard → socket
// The broker itself needs the toolchain and C.
let core: [Target] = [
    // The C that cannot be avoided, as headers.
    .systemLibrary(name: "CHiredis", pkgConfig: "hiredis", providers: [.apt(["libhiredis-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    .target(name: "CSkein", dependencies: ["CLiburing"]),

    .target(name: "SkeinWire", dependencies: ["CHiredis", "COpenSSL", "CZlib"], swiftSettings: base),
    .target(name: "SkeinIO", dependencies: ["CSkein"], swiftSettings: base),
    .target(name: "Skein", dependencies: ["SkeinWire", "SkeinIO"], swiftSettings: base),
    // No package access: what a service can do, every embedding program can do.
    .target(name: "SkeinServices", dependencies: ["Skein"], packageAccess: false, swiftSettings: base),

    // How a client comes back, without I/O and without imports: for our tools, and for users to copy.
    .target(name: "SkeinClient", swiftSettings: base),

    // Whole nodes on one thread, from one seed; `swift run Simulate --help`.
    .target(
        name: "SkeinSimulation", dependencies: ["Skein", "SkeinServices", "SkeinIO", "CSkein"],
        path: "Tests/SkeinSimulation", swiftSettings: tests),
    .executableTarget(
        name: "Simulate", dependencies: ["SkeinSimulation", "SkeinIO"], path: "Tests/Simulate",
        swiftSettings: tests),
]

let coreTests: [Target] = [
    .testTarget(
        name: "SkeinWireTests", dependencies: ["SkeinWire", "COpenSSL", "CZlib"], swiftSettings: tests),
    .testTarget(name: "SkeinIOTests", dependencies: ["SkeinIO", "CSkein"], swiftSettings: tests),
    .testTarget(
        name: "SkeinTests", dependencies: ["Skein", "SkeinServices", "SkeinWire", "SkeinIO"],
        swiftSettings: tests),
    .testTarget(name: "SkeinClientTests", dependencies: ["SkeinClient"], swiftSettings: tests),
    .testTarget(name: "TidyTests", swiftSettings: tests),
    .testTarget(
        name: "SkeinSimulationTests", dependencies: ["SkeinSimulation"], swiftSettings: tests),
]

// SKEIN_CORE builds the broker without the program: in seconds, and all that its tests, the sanitizers,
// the simulator and most fuzzers are for. SKEIN_PROGRAM leaves the broker's tests out: Ops/test runs those
// of the program in release, so that third-party packages, which take most of a build, are built once.
let isCore = Context.environment["SKEIN_CORE"] != nil
let isProgram = Context.environment["SKEIN_PROGRAM"] != nil
let isFuzzing = Context.environment["SKEIN_FUZZ"] != nil

// The fuzzers' bodies are part of a test, over the committed corpus, or with SKEIN_FUZZ a library of
// programs that libFuzzer drives; `Ops/fuzz` builds and runs those.
let bodies: [Target.Dependency] = ["Skein", "SkeinWire", "CZlib"]
let nodeBodies: [Target.Dependency] = ["SkeinNode", .product(name: "JWTKit", package: "jwt-kit")]

func fuzzer(_ name: String, _ dependencies: [Target.Dependency] = ["FuzzBodies"]) -> Target {
    .executableTarget(
        name: "Fuzz\(name)", dependencies: dependencies, path: "Tests/Fuzz/\(name)", exclude: ["Corpus"],
        swiftSettings: tests)
}

// Either half of them can be missing from a build.
let coreBodies = ["CoreTargets", "DeflateBody", "EnvelopeBody", "FrameOracle", "FramesBody", "HandshakeBody",
    "JSONOracle", "ProxyBody", "RESPBody"]
let corpus: [Target] = [
    .testTarget(
        name: "SkeinFuzzTests", dependencies: bodies + (isCore ? [] : nodeBodies), path: "Tests/Fuzz",
        exclude: ["Handshake", "Proxy", "WebSocket", "Deflate", "Envelope", "RESP", "Token", "Configuration"]
            + (isCore ? ["NodeBodies"] : []) + (isProgram ? coreBodies.map { "Bodies/\($0).swift" } : []),
        swiftSettings: tests + (isCore ? [] : [.define("SKEIN_NODE")])
            + (isProgram ? [] : [.define("SKEIN_BROKER")]))
]

let fuzzers: [Target] =
    [
        .target(
            name: "FuzzBodies", dependencies: bodies, path: "Tests/Fuzz/Bodies", swiftSettings: tests),
        fuzzer("Handshake"), fuzzer("Proxy"), fuzzer("WebSocket"), fuzzer("Deflate"),
        fuzzer("Envelope"), fuzzer("RESP"),
    ]
    + (isCore
        ? []
        : [
            .target(
                name: "FuzzNodeBodies", dependencies: ["FuzzBodies"] + nodeBodies,
                path: "Tests/Fuzz/NodeBodies", swiftSettings: tests + [.define("SKEIN_FUZZ")]),
            fuzzer("Token", ["FuzzBodies", "FuzzNodeBodies"]),
            fuzzer("Configuration", ["FuzzBodies", "FuzzNodeBodies"]),
        ])

// What `Benchmarks/micro` counts instructions, allocations and retains of.
let isMeasuring = Context.environment["SKEIN_BENCHMARKS"] != nil
let benchmarks: [Target] = [
    .executableTarget(
        name: "Micro", dependencies: ["Skein", "SkeinServices", "SkeinWire", "SkeinIO"],
        path: "Benchmarks/Micro", swiftSettings: tests)
]

// The program around it. Third-party packages stay here.
let program: [Target] = [
    .target(
        name: "SkeinNode",
        dependencies: [
            "Skein", "SkeinServices", "SkeinWire", "SkeinIO", "COpenSSL",
            .product(name: "AsyncHTTPClient", package: "async-http-client"),
            .product(name: "Configuration", package: "swift-configuration"),
            .product(name: "Crypto", package: "swift-crypto"),
            .product(name: "CryptoExtras", package: "swift-crypto"),
            .product(name: "Hummingbird", package: "hummingbird"),
            .product(name: "HummingbirdCore", package: "hummingbird"),
            .product(name: "JWTKit", package: "jwt-kit"),
            .product(name: "Logging", package: "swift-log"),
            .product(name: "HTTPTypes", package: "swift-http-types"),
            .product(name: "NIOCore", package: "swift-nio"),
            .product(name: "NIOHTTP1", package: "swift-nio"),
            .product(name: "NIOPosix", package: "swift-nio"),
            .product(name: "NIOSSL", package: "swift-nio-ssl"),
            .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            .product(name: "SwiftASN1", package: "swift-asn1"),
            .product(name: "X509", package: "swift-certificates"),
        ],
        swiftSettings: base),
    // A load generator on the same loop and codecs. It knows no broker, so that it measures any.
    .target(
        name: "SkeinBench",
        dependencies: [
            "SkeinClient", "SkeinIO", "SkeinWire", "COpenSSL",
            .product(name: "Histogram", package: "hdrhistogram-swift"),
        ],
        swiftSettings: base),
    .testTarget(
        name: "SkeinBenchTests", dependencies: ["SkeinBench", "SkeinWire", "SkeinIO"],
        swiftSettings: tests),
    .executableTarget(
        name: "SkeinCLI",
        dependencies: [
            "SkeinNode", "SkeinBench", "SkeinClient", "Skein", "SkeinWire", "SkeinIO",
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
            .product(name: "AsyncHTTPClient", package: "async-http-client"),
            .product(name: "NIOCore", package: "swift-nio"),
            .product(name: "NIOHTTP1", package: "swift-nio"),
            .product(name: "NIOPosix", package: "swift-nio"),
            .product(name: "NIOSSL", package: "swift-nio-ssl"),
        ],
        swiftSettings: base),
    .testTarget(
        name: "SkeinNodeTests",
        dependencies: [
            "SkeinNode", "Skein",
            .product(name: "Crypto", package: "swift-crypto"),
            .product(name: "CryptoExtras", package: "swift-crypto"),
            .product(name: "JWTKit", package: "jwt-kit"),
            .product(name: "Logging", package: "swift-log"),
            .product(name: "NIOCore", package: "swift-nio"),
            .product(name: "NIOPosix", package: "swift-nio"),
        ],
        swiftSettings: tests),
]

let packages: [Package.Dependency] = [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["JSON", "YAML"]),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
    .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
]

let package = Package(
    name: "skein",
    platforms: [.macOS(.v26)],
    products: [.library(name: "Skein", targets: ["Skein"])]
        + (isCore ? [] : [.executable(name: "skein", targets: ["SkeinCLI"])]),
    dependencies: isCore ? [] : packages,
    targets: core + (isProgram ? [] : coreTests) + (isCore ? [] : program) + (isFuzzing ? fuzzers : corpus)
        + (isMeasuring ? benchmarks : [])
)
