// A WebSocket server of SwiftNIO's parts on one event loop: echo, fan-out and pairs by the floor's paths
// (Benchmarks/Floor), no users, no JSON. What one read brought is flushed when the read is complete, which
// is how NIO's own handlers batch.
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

/// Who gets what; lives on the one event loop.
final class Hub {
    var subscribers: [ObjectIdentifier: ChannelHandlerContext] = [:]
    var users: [Int: ChannelHandlerContext] = [:]
    private var unflushed: [ObjectIdentifier: ChannelHandlerContext] = [:]

    func write(_ frame: WebSocketFrame, to context: ChannelHandlerContext) {
        context.write(NIOAny(frame), promise: nil)
        unflushed[ObjectIdentifier(context)] = context
    }

    func flush() {
        for context in unflushed.values { context.flush() }
        unflushed.removeAll(keepingCapacity: true)
    }

    func forget(_ context: ChannelHandlerContext, user: Int?) {
        subscribers[ObjectIdentifier(context)] = nil
        unflushed[ObjectIdentifier(context)] = nil
        if let user, users[user] === context { users[user] = nil }
    }
}

enum Kind: Sendable {
    case echo, subscriber, publisher
    case user(Int)

    init(path: String) {
        if path.hasPrefix("/fanout") {
            self = .subscriber
        } else if path.hasPrefix("/publish") {
            self = .publisher
        } else if path.hasPrefix("/pair?id="), let user = Int(path.dropFirst(9)) {
            self = .user(user)
        } else {
            self = .echo
        }
    }
}

final class Peer: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let hub: Hub
    private let kind: Kind

    init(hub: Hub, kind: Kind) {
        self.hub = hub
        self.kind = kind
    }

    func handlerAdded(context: ChannelHandlerContext) {
        switch kind {
        case .subscriber: hub.subscribers[ObjectIdentifier(context)] = context
        case .user(let user): hub.users[user] = context
        case .echo, .publisher: break
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        if case .user(let user) = kind {
            hub.forget(context, user: user)
        } else {
            hub.forget(context, user: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .text, .binary:
            route(WebSocketFrame(fin: true, opcode: frame.opcode, data: frame.unmaskedData), from: context)
        case .ping:
            hub.write(WebSocketFrame(fin: true, opcode: .pong, data: frame.unmaskedData), to: context)
        case .connectionClose:
            let close = WebSocketFrame(fin: true, opcode: .connectionClose, data: frame.unmaskedData)
            context.writeAndFlush(wrapOutboundOut(close)).whenComplete { _ in }
            context.close(promise: nil)
        default: break
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        hub.flush()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func route(_ frame: WebSocketFrame, from context: ChannelHandlerContext) {
        switch kind {
        case .echo: hub.write(frame, to: context)
        case .publisher: for subscriber in hub.subscribers.values { hub.write(frame, to: subscriber) }
        case .subscriber: break
        case .user:
            var user = 0
            for byte in frame.data.readableBytesView.dropFirst() {
                guard byte >= 48, byte <= 57, user < 100_000_000 else { break }
                user = user * 10 + Int(byte - 48)
            }
            if let receiver = hub.users[user] { hub.write(frame, to: receiver) }
        }
    }
}

let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
let hub = try loop.submit { NIOLoopBound(Hub(), eventLoop: loop) }.wait()

let server = ServerBootstrap(group: loop)
    .serverChannelOption(.backlog, value: 4096)
    .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
    .childChannelInitializer { channel in
        let upgrader = NIOWebSocketServerUpgrader(
            shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture(HTTPHeaders()) },
            upgradePipelineHandler: { channel, head in
                channel.eventLoop.makeCompletedFuture {
                    let peer = Peer(hub: hub.value, kind: Kind(path: head.uri))
                    try channel.pipeline.syncOperations.addHandler(peer)
                }
            })
        return channel.pipeline.configureHTTPServerPipeline(
            withServerUpgrade: (upgraders: [upgrader], completionHandler: { _ in }))
    }

let listener = try server.bind(host: "127.0.0.1", port: 0).wait()
print("sockets ws://127.0.0.1:\(listener.localAddress?.port ?? 0)")
// The line is what the measurement waits for, and a pipe would keep it.
fflush(nil)
try listener.closeFuture.wait()
