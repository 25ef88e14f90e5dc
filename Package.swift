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
// Third-party packages stay in SkeinNode and SkeinCLI; the broker itself needs the toolchain and C.
let package = Package(
    name: "skein",
    platforms: [.macOS(.v26)],
    products: [
        .library(name: "Skein", targets: ["Skein"]),
        .executable(name: "skein", targets: ["SkeinCLI"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["JSON", "YAML"]),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    ],
    targets: [
        // The C that cannot be avoided, as headers.
        .systemLibrary(name: "CHiredis", pkgConfig: "hiredis", providers: [.apt(["libhiredis-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .target(name: "CSkein", dependencies: ["CLiburing"]),

        .target(name: "SkeinWire", dependencies: ["CHiredis", "COpenSSL"], swiftSettings: base),
        .target(name: "SkeinIO", dependencies: ["CSkein"], swiftSettings: base),
        .target(name: "Skein", dependencies: ["SkeinWire", "SkeinIO"], swiftSettings: base),
        // No package access: what a service can do, every embedding program can do.
        .target(name: "SkeinServices", dependencies: ["Skein"], packageAccess: false, swiftSettings: base),
        .target(
            name: "SkeinNode",
            dependencies: [
                "Skein", "SkeinServices", "SkeinIO", "COpenSSL",
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "JWTKit", package: "jwt-kit"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: base),
        .executableTarget(
            name: "SkeinCLI",
            dependencies: [
                "SkeinNode", "Skein", "SkeinWire", "SkeinIO",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: base),

        .testTarget(name: "SkeinWireTests", dependencies: ["SkeinWire"], swiftSettings: tests),
        .testTarget(name: "SkeinIOTests", dependencies: ["SkeinIO", "CSkein"], swiftSettings: tests),
        .testTarget(
            name: "SkeinTests", dependencies: ["Skein", "SkeinServices", "SkeinWire", "SkeinIO"],
            swiftSettings: tests),
        .testTarget(
            name: "SkeinNodeTests",
            dependencies: [
                "SkeinNode", "Skein",
                .product(name: "JWTKit", package: "jwt-kit"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: tests),
        .testTarget(name: "TidyTests", swiftSettings: tests),
    ]
)
