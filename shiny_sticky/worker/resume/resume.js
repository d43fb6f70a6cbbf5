// The browser's side of a resumable session: what Shiny takes for its websocket is carried by one connection after
// another. docs/resume.md tells the protocol; wire.py beside this file has the same table.
// @ts-check

(() => {
  "use strict";

  const SUBPROTOCOL = "resume.shiny-sticky";

  // What the first byte of a binary message says. Text is the app's own, as it stands.
  const DATA = 0, HELLO = 1, RESUME = 2, RESUMED = 3, ACK = 4, PING = 5, PONG = 6, BYE = 7, NOTICE = 8, BOOKMARK = 9;

  // Codes of a closed connection after which there is no session to resume: the app's own (1000, 1001, 1012; 4001 is
  // Shiny's), or the worker's (4403: refused, 4410: gone).
  const FINAL = new Set([1000, 1001, 1012, 4001, 4403, 4410]);

  // Those of them by which the app says that it is over; whatever the code, the worker says so with BYE.
  const BY_APP = new Set([1000, 1001, 4001]);

  // Ours, when the page goes into the back/forward cache.
  const PUT_ASIDE = 4000;

  const ACK_MESSAGES = 32;
  const ACK_MS = 1000;

  // The worker asks after 7 s of silence. So nothing for so long is a lost connection, unless this page was asleep.
  const SILENT_MS = 14000;
  const CHECK_MS = 1000;

  // What a connection that is to carry the session may take until it does.
  const ATTEMPT_MS = 10000;

  // For so long a page begins anew whose connection was lost before the worker had said how its session is resumed.
  const BEGIN_MS = 300000;

  // What is told "are you there?" after a sleep may take so long to answer.
  const ANSWER_MS = 2000;

  const FIRST_WAIT_MS = 200;

  // Not longer, for a network is back also where no browser says so: a proxy's, or the server's.
  const LONGEST_WAIT_MS = 1500;

  // Characters or bytes that are kept for the worker.
  const BUFFER = 4 << 20;

  /** @typedef {string | ArrayBuffer | ArrayBufferView<ArrayBuffer> | Blob} Payload */

  /** Keeps what was sent until the other side has acknowledged it. Messages are numbered from 0, by counting. */
  class Outgoing {
    constructor() {
      /** The number of the oldest message that is kept. */
      this.first = 0;
      /** Characters or bytes of all that are kept. */
      this.size = 0;
      /** @type {Payload[]} */
      this.kept = [];
    }

    /** The number that the next message will have. */
    get next() {
      return this.first + this.kept.length;
    }

    /** @param {Payload} payload */
    add(payload) {
      this.kept.push(payload);
      this.size += sizeOf(payload);
    }

    /**
     * Let go of all messages before a number.
     * @param {number} number
     * @returns {boolean} whether that can be
     */
    acknowledge(number) {
      if (!Number.isSafeInteger(number) || number > this.next) return false;
      while (this.first < number) {
        this.size -= sizeOf(/** @type {Payload} */ (this.kept.shift()));
        this.first += 1;
      }
      return true;
    }
  }

  /** Counts what is received. */
  class Incoming {
    constructor() {
      /** The number that the next message will have. */
      this.next = 0;
      this.acknowledgedUpTo = 0;
    }

    /** Messages that have not been acknowledged yet. */
    get owed() {
      return this.next - this.acknowledgedUpTo;
    }

    count() {
      this.next += 1;
    }

    /** @returns {number} the number to acknowledge now; nothing is owed then */
    acknowledged() {
      this.acknowledgedUpTo = this.next;
      return this.next;
    }
  }

  /**
   * What Shiny takes for its websocket: `onopen`, `onmessage`, `onclose`, `send`, `close`, `readyState`,
   * `allowReconnect`.
   */
  class ResumableSocket {
    /** @param {URL} page the URL of the page, with a slash at its end */
    constructor(page) {
      /** @type {(() => void) | null} */
      this.onopen = null;
      /** @type {((event: {data: string | ArrayBuffer}) => void) | null} */
      this.onmessage = null;
      /** @type {((event: {code: number, reason: string, wasClean: boolean}) => void) | null} */
      this.onclose = null;
      this.allowReconnect = false;

      this.page = page;
      this.outgoing = new Outgoing();
      this.incoming = new Incoming();
      /** What the session is resumed by; null before it is known, and where the worker does not speak the protocol.
       * @type {{url: URL, secret: string, timeout: number, page: string} | null} */
      this.session = null;
      /** The connection that carries the session. @type {WebSocket | null} */
      this.carrier = null;
      /** One that is to carry it. @type {WebSocket | null} */
      this.candidate = null;
      /** Whether the worker speaks the protocol. */
      this.resumable = false;
      this.opened = false;
      this.openedAt = 0;
      this.ended = false;
      /** What the session's last bookmark has in its URL behind the ?. @type {string | undefined} */
      this.bookmark = undefined;
      /** Whether the app has closed the session. */
      this.closedByApp = false;
      /** When the connection was lost, in ms. @type {number | null} */
      this.lostAt = null;
      this.heardAt = now();
      this.checkedAt = now();
      this.wait = FIRST_WAIT_MS;
      this.retry = 0;
      this.ackTimer = 0;
      this.checkTimer = setInterval(() => this.check(), CHECK_MS);
      this.removeListeners = listen(this);
      this.open();
    }

    /** As a WebSocket's, but 1 also while there is no connection: what is sent is kept. */
    get readyState() {
      return this.ended ? 3 : this.opened ? 1 : 0;
    }

    /** @param {Payload} payload */
    send(payload) {
      if (this.ended) return;
      if (this.carrier && !this.resumable) return this.carrier.send(payload);
      this.outgoing.add(payload);
      if (this.carrier) this.put(payload);
      if (!this.carrier && this.outgoing.size > BUFFER) this.end(1006, "more waits than is kept");
    }

    /** @param {number} [code] @param {string} [reason] */
    close(code = 1000, reason = "") {
      this.bye();
      this.end(code, reason);
    }

    // --- the first connection, or another one in its place while no session is known

    /** @param {string[]} [protocols] */
    open(protocols = [SUBPROTOCOL]) {
      const url = new URL("websocket/", this.page);
      url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
      const socket = (this.candidate = connect(url, protocols));
      const timer = this.opened ? setTimeout(() => socket.close(), ATTEMPT_MS) : 0;
      socket.onopen = () => {
        clearTimeout(timer);
        if (socket === this.candidate) this.begin(socket);
      };
      socket.onmessage = (event) => this.hear(socket, event.data);
      socket.onclose = (event) => {
        clearTimeout(timer);
        if (socket !== this.candidate) return this.lose(socket, event);
        this.candidate = null;
        if (this.opened) this.tryLater();
        // A worker that knows no such protocol leaves it out of its answer, and browsers take that for a failure.
        else if (protocols.length) this.open([]);
        else this.end(event.code, event.reason);
      };
    }

    /** @param {WebSocket} socket */
    begin(socket) {
      const old = this.carrier;
      this.candidate = null;
      this.carrier = socket;
      this.resumable = socket.protocol !== "";
      this.heardAt = now();
      old?.close();
      for (const payload of this.outgoing.kept) this.put(payload);
      if (this.opened) return;
      this.opened = true;
      this.openedAt = now();
      tell("connected");
      this.onopen?.();
    }

    // --- what comes in

    /** @param {WebSocket} socket @param {string | ArrayBuffer} data */
    hear(socket, data) {
      if (socket !== this.carrier || this.ended) return;
      this.heardAt = now();
      this.dropCandidate();
      if (typeof data === "string") return this.take(data);
      const kind = new Uint8Array(data)[0];
      const content = data.slice(1);
      if (!socket.protocol || kind === DATA) this.take(socket.protocol ? content : data);
      else if (kind === HELLO) this.introduce(fields(content));
      else if (kind === ACK) this.acknowledge(Number(text(content)));
      else if (kind === NOTICE) announce(fields(content));
      else if (kind === PING) socket.send(Uint8Array.of(PONG));
      else if (kind === BYE) this.closedByApp = true;
      else if (kind === BOOKMARK) this.bookmark = fields(content).query;
    }

    /** A message for Shiny. @param {string | ArrayBuffer} data */
    take(data) {
      this.incoming.count();
      this.onmessage?.({ data });
      if (!this.session) return;
      if (this.incoming.owed >= ACK_MESSAGES) this.tellReceived();
      else if (!this.ackTimer) this.ackTimer = setTimeout(() => this.tellReceived(), ACK_MS);
    }

    /** @param {{session: string, secret: string, timeout: number, page: string}} told */
    introduce(told) {
      const url = new URL(`session/${told.session}/resume`, this.page);
      this.session = { url, secret: told.secret, timeout: told.timeout * 1000, page: told.page };
      this.carrier?.send(control(ACK, String(this.incoming.acknowledged()))); // which shows that it is known here
      this.found();
    }

    /** @param {number} number */
    acknowledge(number) {
      if (!this.outgoing.acknowledge(number)) this.end(4403, "what was never sent is acknowledged");
    }

    tellReceived() {
      clearTimeout(this.ackTimer);
      this.ackTimer = 0;
      if (this.carrier && this.incoming.owed) this.carrier.send(control(ACK, String(this.incoming.acknowledged())));
    }

    /** @param {Payload} payload */
    put(payload) {
      this.carrier?.send(typeof payload === "string" ? payload : new Blob([Uint8Array.of(DATA), payload]));
    }

    // --- when a connection is lost

    /** @param {WebSocket} socket @param {CloseEvent | {code: number, reason: string}} event */
    lose(socket, event) {
      if (this.ended || socket !== this.carrier) return;
      this.carrier = null;
      if (!this.resumable || this.isFinal(event.code)) return this.end(event.code, event.reason);
      if (this.lostAt !== null) return this.tryLater();
      this.lostAt = now();
      this.wait = FIRST_WAIT_MS;
      tell("lost");
      this.attempt();
    }

    /** Whether a connection that was closed like that was the last one. @param {number} code */
    isFinal(code) {
      return this.closedByApp || FINAL.has(code);
    }

    /** Connect anew; what carries the session until then, if anything does, goes on. */
    attempt() {
      const session = this.session;
      if (!this.resumable || this.ended || this.candidate) return;
      clearTimeout(this.retry);
      const most = session ? session.timeout : BEGIN_MS;
      if (this.lostAt !== null && now() - this.lostAt > most) return this.end(1006, "away for too long");
      if (!session) return this.open();
      const url = new URL(session.url);
      url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
      const socket = (this.candidate = connect(url, [SUBPROTOCOL]));
      const timer = setTimeout(() => socket.close(), ATTEMPT_MS);
      socket.onopen = () =>
        socket.send(control(RESUME, JSON.stringify({ secret: session.secret, next: this.incoming.next })));
      socket.onmessage = (event) => {
        clearTimeout(timer);
        this.resume(socket, event.data);
      };
      socket.onclose = (event) => {
        clearTimeout(timer);
        if (socket !== this.candidate) return;
        this.candidate = null;
        if (this.isFinal(event.code)) this.end(event.code, event.reason);
        else this.tryLater();
      };
    }

    /** Wait before the next attempt, longer each time. */
    tryLater() {
      if (this.ended || this.carrier) return;
      const wait = this.wait * (0.5 + Math.random() / 2);
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
      this.retry = setTimeout(() => this.attempt(), wait);
      tell("waiting", { seconds: wait / 1000 });
    }

    /** Somebody does not want to wait for the next attempt, nor for the one that is under way. */
    retryNow() {
      if (this.ended || this.carrier || this.lostAt === null) return;
      this.dropCandidate();
      this.attempt();
    }

    /** The worker's first word on a further connection. @param {WebSocket} socket @param {string | ArrayBuffer} data */
    resume(socket, data) {
      if (socket !== this.candidate || !this.session || typeof data === "string") return;
      if (new Uint8Array(data)[0] === BYE) this.closedByApp = true;
      if (new Uint8Array(data)[0] !== RESUMED) return;
      const told = fields(data.slice(1));
      const old = this.carrier;
      this.candidate = null;
      this.carrier = socket;
      this.session.secret = told.secret;
      this.heardAt = now();
      socket.onmessage = (event) => this.hear(socket, event.data);
      socket.onclose = (event) => this.lose(socket, event);
      old?.close();
      this.acknowledge(told.next);
      if (this.ended) return;
      socket.send(control(ACK, String(this.incoming.acknowledged()))); // which shows that the new secret is here, too
      for (const payload of this.outgoing.kept) this.put(payload);
      this.found();
    }

    /** The two have found together. */
    found() {
      this.wait = FIRST_WAIT_MS;
      if (this.lostAt === null) return;
      this.lostAt = null;
      tell("resumed");
    }

    dropCandidate() {
      const socket = this.candidate;
      this.candidate = null;
      socket?.close();
    }

    /** @param {number} code @param {string} reason */
    end(code, reason) {
      if (this.ended) return;
      this.ended = true;
      this.removeListeners();
      for (const timer of [this.retry, this.ackTimer, this.checkTimer]) clearTimeout(timer);
      this.dropCandidate();
      this.carrier?.close();
      this.carrier = null;
      const closed = this.closedByApp || BY_APP.has(code);
      const seconds = this.opened ? (this.heardAt - this.openedAt) / 1000 : 0;
      tell("ended", { code, closed, seconds, page: this.session?.page, bookmark: this.bookmark });
      this.onclose?.({ code, reason, wasClean: code !== 1006 });
    }

    // --- time, and what the browser says

    /** Look whether the connection is there still, every second. */
    check() {
      const slept = now() - this.checkedAt > 2 * CHECK_MS + ANSWER_MS;
      this.checkedAt = now();
      if (slept) this.ask();
      else if (this.carrier && now() - this.heardAt > SILENT_MS) this.attempt();
    }

    /** The network may be another one, or this page has slept: see at once. */
    ask() {
      if (this.ended || !this.resumable) return;
      this.wait = FIRST_WAIT_MS;
      if (!this.carrier) return this.attempt();
      const asked = now();
      this.carrier.send(Uint8Array.of(PING));
      setTimeout(() => {
        if (this.carrier && this.heardAt < asked) this.attempt();
      }, ANSWER_MS);
    }

    /** The page goes. @param {boolean} kept whether it may come back as it is */
    leave(kept) {
      if (!kept) return this.bye();
      if (!this.session) return;
      this.dropCandidate();
      const socket = this.carrier;
      this.carrier = null;
      this.lostAt = now();
      socket?.close(PUT_ASIDE);
    }

    /** Nobody will resume it: the worker need not wait. */
    bye() {
      if (this.carrier && this.session) this.carrier.send(Uint8Array.of(BYE));
    }
  }

  /** What the browser says of the network and the page. @param {ResumableSocket} socket @returns {() => void} */
  function listen(socket) {
    const controller = new AbortController();
    const { signal } = controller;
    window.addEventListener("online", () => socket.ask(), { signal });
    window.addEventListener("pageshow", (event) => event.persisted && socket.ask(), { signal });
    window.addEventListener("pagehide", (event) => socket.leave(event.persisted), { signal });
    document.addEventListener("shiny-sticky:retry", () => socket.retryNow(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || socket.ask(), { signal });
    return () => controller.abort();
  }

  /** Tell others on the page what becomes of the connection. @param {string} state @param {object} [more] */
  function tell(state, more) {
    document.dispatchEvent(new CustomEvent("shiny-sticky:connection", { detail: { state, ...more } }));
  }

  /** Tell others on the page what the worker has to say to the visitor. @param {object} detail */
  function announce(detail) {
    document.dispatchEvent(new CustomEvent("shiny-sticky:notice", { detail }));
  }

  /** @param {URL} url @param {string[]} protocols @returns {WebSocket} */
  function connect(url, protocols) {
    const socket = new WebSocket(url, protocols);
    socket.binaryType = "arraybuffer";
    return socket;
  }

  /** A control message. @param {number} kind @param {string} content */
  function control(kind, content) {
    const bytes = new TextEncoder().encode(content);
    const message = new Uint8Array(bytes.length + 1);
    message[0] = kind;
    message.set(bytes, 1);
    return message;
  }

  /** @param {ArrayBuffer} content */
  function text(content) {
    return new TextDecoder().decode(content);
  }

  /** @param {ArrayBuffer} content @returns {any} */
  function fields(content) {
    return JSON.parse(text(content));
  }

  /** @param {Payload} payload @returns {number} */
  function sizeOf(payload) {
    if (typeof payload === "string") return payload.length;
    return payload instanceof Blob ? payload.size : payload.byteLength;
  }

  /** Milliseconds by a clock that nobody sets. */
  function now() {
    return performance.now();
  }

  /** The page's URL as Shiny takes it for its own. @returns {URL} */
  function pageUrl() {
    const url = new URL(window.location.href);
    url.search = url.hash = "";
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    return url;
  }

  if (typeof module === "object") module.exports = { Outgoing, Incoming, ResumableSocket };
  else if (window.Shiny && !window.Shiny.createSocket) window.Shiny.createSocket = () => new ResumableSocket(pageUrl());
})();
