// The same hub on node's `ws`: users in a Map, JSON parsed and made for every message, one send each.
// Usage: node server.js SECRET [CERTIFICATE KEY]
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const { WebSocketServer, WebSocket } = require("ws");

const [secret, certificate, key] = process.argv.slice(2);
const users = new Map();

function verify(token) {
    const [head, claims, signature] = token.split(".");
    const wanted = crypto.createHmac("sha256", secret).update(`${head}.${claims}`).digest();
    const given = Buffer.from(signature || "", "base64url");
    if (given.length !== wanted.length || !crypto.timingSafeEqual(given, wanted)) return null;
    const { sub, exp } = JSON.parse(Buffer.from(claims, "base64url"));
    return exp * 1000 > Date.now() ? sub : null;
}

function deliver(sockets, event) {
    const message = JSON.stringify(event);
    for (const socket of sockets || []) if (socket.readyState === WebSocket.OPEN) socket.send(message);
}

function* everyone() {
    for (const sockets of users.values()) yield* sockets;
}

function route(user, text) {
    const { type, data } = JSON.parse(text);
    const { receiverId, ...rest } = data;
    const timestamp = new Date().toISOString();
    deliver(users.get(receiverId), { type, data: { senderId: user, ...rest }, timestamp });
    if (type === "chat_message") deliver(users.get(user), { type: "chat_message_sent", data, timestamp });
}

const options = certificate ? { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) } : {};
const server = require(certificate ? "https" : "http").createServer(options);
const sockets = new WebSocketServer({ noServer: true, maxPayload: 65536 });

server.on("upgrade", (request, socket, head) => {
    const url = new URL(request.url, "http://localhost");
    let user = null;
    if (url.pathname === "/ws") {
        user = verify(url.searchParams.get("token") || "");
        if (!user) return socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    }
    sockets.handleUpgrade(request, socket, head, (connection) => open(connection, url.pathname, user));
});

function open(connection, path, user) {
    connection.on("error", () => connection.terminate());
    if (path === "/echo") {
        connection.on("message", (data, isBinary) => connection.send(data, { binary: isBinary }));
    } else if (path === "/publish") {
        connection.on("message", (text) => deliver(everyone(), JSON.parse(text)));
    } else if (user) {
        if (!users.has(user)) users.set(user, new Set());
        users.get(user).add(connection);
        connection.on("message", (text) => route(user, text));
        connection.on("close", () => {
            const own = users.get(user);
            own.delete(connection);
            if (own.size === 0) users.delete(user);
        });
        connection.send(JSON.stringify({ type: "connected", data: { userId: user } }));
    }
}

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
    console.log(`sockets ws://127.0.0.1:${server.address().port}`);
});
