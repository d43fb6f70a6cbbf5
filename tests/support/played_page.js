// A page with resume.js whose network and clock are played by a test: each line of the input is a command, each line
// of the output what the page has done since the one before, and how far it is.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const vm = require("node:vm");

const script = new vm.Script(fs.readFileSync(process.argv[2], "utf8"));

/** What is sent or has come, as JSON can say it. */
const told = (data) => (typeof data === "string" ? { text: data } : { hex: bytesOf(data).toString("hex") });

const bytesOf = (data) =>
  data instanceof Glued ? data.bytes : ArrayBuffer.isView(data) ? Buffer.from(data) : Buffer.from(new Uint8Array(data));

/** A Blob that can be read at once. */
class Glued {
  constructor(parts) {
    this.bytes = Buffer.concat(parts.map(bytesOf));
    this.size = this.bytes.length;
  }
}

class Browser {
  constructor() {
    this.acts = [];
    this.lines = [];
    this.listeners = {};
    this.time = 0;
    this.timers = new Map();
    this.lastTimer = 0;
    const browser = this;

    class WebSocket {
      constructor(url) {
        this.line = browser.lines.push(this) - 1;
        this.protocol = "";
        this.readyState = 0;
        browser.acts.push(["connect", this.line, new URL(url).pathname]);
      }
      send(data) {
        if (this.readyState === 0) throw new Error("sent before the connection is open");
        if (this.readyState === 1) browser.acts.push(["say", this.line, told(data)]);
      }
      close(code = 1005) {
        if (this.readyState > 1) return;
        this.readyState = 2;
        browser.acts.push(["close", this.line, code]);
      }
    }

    const events = { addEventListener: (name, act) => (this.listeners[name] = act), dispatchEvent: () => true };
    const context = vm.createContext({
      ...{ URL, TextEncoder, TextDecoder, AbortController, CustomEvent, WebSocket, Blob: Glued },
      ...{ window: events, document: { ...events, hidden: false } },
      performance: { now: () => this.time },
      setTimeout: (act, ms) => this.later(act, ms),
      setInterval: (act, ms) => this.later(act, ms, true),
      clearTimeout: (timer) => this.timers.delete(timer),
      module: { exports: {} },
    });
    vm.runInContext("Math.random = () => 0.5", context);
    script.runInContext(context);
    this.socket = new context.module.exports.ResumableSocket(new URL("http://here/"));
    this.socket.onmessage = ({ data }) => this.acts.push(["take", told(data)]);
    this.socket.onclose = ({ code }) => this.acts.push(["end", code]);
  }

  later(act, ms, again = false) {
    this.timers.set(++this.lastTimer, { act, ms, again, due: this.time + ms });
    return this.lastTimer;
  }

  /** Let time pass, and do what is due meanwhile. */
  pass(ms) {
    const end = this.time + ms;
    for (;;) {
      const [number, timer] = [...this.timers].reduce((a, b) => (b[1].due < a[1].due ? b : a), [0, { due: Infinity }]);
      if (timer.due > end) break;
      this.time = timer.due;
      if (timer.again) timer.due += timer.ms;
      else this.timers.delete(number);
      timer.act();
    }
    this.time = end;
  }

  send({ text, hex }) {
    this.socket.send(text ?? Uint8Array.from(Buffer.from(hex, "hex")));
  }

  open({ line, protocol }) {
    const socket = this.lines[line];
    if (socket.readyState) return;
    Object.assign(socket, { readyState: 1, protocol });
    socket.onopen();
  }

  hear({ line, text, hex }) {
    const socket = this.lines[line];
    if (socket.readyState === 1) socket.onmessage({ data: text ?? Uint8Array.from(Buffer.from(hex, "hex")).buffer });
  }

  lose({ line, code }) {
    const socket = this.lines[line];
    if (socket.readyState === 3) return;
    socket.readyState = 3;
    socket.onclose({ code, reason: "" });
  }

  /** What the browser says of the network and the page. */
  event({ name }) {
    this.listeners[name]?.({ persisted: true });
  }

  report() {
    const { outgoing, incoming, opened, carrier, session } = this.socket;
    return {
      ...{ acts: this.acts.splice(0), opened, carried: carrier !== null, session: session && session.url.pathname },
      ...{ first: outgoing.first, next: outgoing.next, expected: incoming.next },
    };
  }
}

let browser;
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  if (command.do === "begin") browser = new Browser();
  else if (command.do === "pass") browser.pass(command.ms);
  else browser[command.do](command);
  process.stdout.write(`${JSON.stringify(browser.report())}\n`);
});
