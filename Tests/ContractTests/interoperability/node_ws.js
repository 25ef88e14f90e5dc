// The conversation of test_interoperability.py, held by Node's `ws`:
//     node node_ws.js URL TOKEN CA-FILE|- deflate|plain
// Ends with status 0 when all went as it has to, else with a sentence on stderr.
"use strict";

const fs = require("fs");
const WebSocket = require("ws");

const [url, token, authority, compression] = process.argv.slice(2);
const deflate = compression === "deflate";

function fail(what) {
    console.error(what);
    process.exit(1);
}

const socket = new WebSocket(url, {
    headers: { Authorization: `Bearer ${token}` },
    ca: authority === "-" ? undefined : fs.readFileSync(authority),
    perMessageDeflate: deflate ? { threshold: 0 } : false,
});
const awaited = [];

function next(event, what) {
    return new Promise((resolve) => {
        awaited.push(what);
        socket.once(event, (...values) => {
            awaited.pop();
            resolve(values);
        });
    });
}

async function echo(data, send = () => socket.send(data)) {
    const isText = typeof data === "string";
    const wanted = Buffer.from(data);
    const answer = next("message", `echo of ${wanted.length} bytes`);
    send();
    const [message, isBinary] = await answer;
    if (isBinary === isText) fail(`echo of ${wanted.length} bytes has another type`);
    if (!wanted.equals(message)) fail(`echo of ${wanted.length} bytes differs`);
}

async function converse() {
    await next("open", "open");
    if (socket.extensions.includes("permessage-deflate") !== deflate)
        fail(`extensions: '${socket.extensions}'`);
    const large = Buffer.from(Array.from({ length: 65536 }, (_, index) => (index * index) & 255));
    for (let round = 0; round < 3; round++) {
        await echo("hello");
        await echo("zoë 🧶 ".repeat(1000));
        await echo("");
        await echo(Buffer.from(Array.from({ length: 256 }, (_, index) => index)));
        await echo(large);
        await echo("one two three", () => {
            socket.send("one ", { fin: false });
            socket.send("two ", { fin: false });
            socket.send("three", { fin: true });
        });
        await echo(large, () => {
            socket.send(large.subarray(0, 30000), { fin: false });
            socket.send(large.subarray(30000), { fin: true });
        });
        const pong = next("pong", "pong");
        socket.ping("are you there?");
        const [payload] = await pong;
        if (payload.toString() !== "are you there?") fail(`pong of ${payload}`);
    }
    const closed = next("close", "close");
    socket.close(1000, "done");
    const [code, reason] = await closed;
    if (code !== 1000) fail(`closed with ${code} '${reason}'`);
    process.exit(0);
}

socket.on("error", (error) => fail(`error: ${error.message}`));
socket.on("close", (code, reason) => {
    if (socket.readyState === WebSocket.CLOSED && !awaited.includes("close") && awaited.length)
        fail(`closed with ${code} '${reason}' while waiting for ${awaited}`);
});
setTimeout(() => fail(`nothing came while waiting for ${awaited}`), 30000);
converse();
