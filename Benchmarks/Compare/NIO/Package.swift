// swift-tools-version: 6.1
// SwiftNIO's own WebSocket, as the floor servers use theirs: what Skein is compared with in Swift.
import PackageDescription

let package = Package(
    name: "compare-nio",
    dependencies: [.package(url: "https://github.com/apple/swift-nio", from: "2.90.0")],
    targets: [
        .executableTarget(
            name: "Server",
            dependencies: [
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
            ])
    ],
    swiftLanguageModes: [.v6]
)
