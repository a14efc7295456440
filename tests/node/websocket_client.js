// Uses a WebSocket the way an application does, and prints what it finds, one JSON value a line.
//
// Usage: websocket_client.js URL KEY
// The CA is the one in NODE_EXTRA_CA_CERTS.

import WebSocket from "ws";

import { say } from "./speech.js";

const [url, key] = process.argv.slice(2);
const socket = new WebSocket(url, ["talk.v1"], { headers: { "X-API-Key": key } });

// What comes, one by one.
const waiting = [];
const come = [];
socket.on("message", (data, binary) => {
  const message = binary ? data : data.toString();
  waiting.length ? waiting.shift()(message) : come.push(message);
});
const next = () => new Promise((resolve) => (come.length ? resolve(come.shift()) : waiting.push(resolve)));

socket.on("unexpected-response", async (_, response) => {
  const body = JSON.parse(Buffer.concat(await response.toArray()).toString());
  say({ status: response.statusCode, code: body.error_code });
  process.exit(0);
});

socket.on("close", (code, reason) => say({ closed: code, reason: reason.toString() }));

socket.on("open", async () => {
  say({ protocol: socket.protocol });
  socket.send("hello");
  say({ text: await next() });
  socket.send(Buffer.alloc(512_000, 7));
  say({ bytes: (await next()).length });
  socket.send("in ", { fin: false });
  socket.send("three ", { fin: false });
  socket.send("pieces");
  say({ text: await next() });
  socket.send("many");
  const many = [];
  while (many.length < 100) many.push(await next());
  say({ many: many.every((message, index) => message === String(index)) });
  const pong = new Promise((resolve) => socket.once("pong", resolve));
  socket.ping();
  await pong;
  say({ pong: true });
  socket.send("close");
});
