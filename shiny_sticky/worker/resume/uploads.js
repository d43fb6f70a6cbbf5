// What Shiny's file inputs upload outlives its connection, too: it is sent again once there is a network. The worker
// knows it by its Idempotency-Key (middleware/repeated_uploads.py), so that the app gets each file once.
// @ts-check

(() => {
  "use strict";

  const UPLOAD = /(^|\/)session\/[^/]+\/upload\//;

  // So often it is sent while the session has its connection: then the network is not to blame.
  const ATTEMPTS = 4;

  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 5000;

  let number = 0;
  /** Whether the session has its connection. */
  let connected = true;
  let lostAt = 0;
  /** Uploads under way. @type {Set<Upload>} */
  const uploads = new Set();

  /** A file on its way, as jQuery asks for it: a "transport". */
  class Upload {
    /** @param {any} options jQuery's */
    constructor(options) {
      this.options = options;
      this.key = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}-${(number += 1)}`;
      this.failures = 0;
      this.wait = FIRST_WAIT_MS;
      this.retry = 0;
      this.movedAt = 0;
      /** @type {Record<string, string>} */
      this.headers = {};
      /** @type {XMLHttpRequest | null} */
      this.request = null;
      /** @type {(status: number, text: string, answer?: object, headers?: string) => void} */
      this.complete = () => {};
    }

    /** @param {Record<string, string>} headers @param {any} complete */
    send(headers, complete) {
      this.headers = headers;
      this.complete = complete;
      uploads.add(this);
      this.attempt();
    }

    /** jQuery does not want it any more. */
    abort() {
      this.stop();
      uploads.delete(this);
      this.complete(0, "abort");
    }

    attempt() {
      this.stop();
      const request = (this.request = this.options.xhr());
      request.open(this.options.type, this.options.url);
      for (const [name, value] of Object.entries(this.headers)) request.setRequestHeader(name, value);
      request.setRequestHeader("Idempotency-Key", this.key);
      this.movedAt = performance.now();
      request.upload.addEventListener("progress", () => (this.movedAt = performance.now()));
      request.onload = () => this.end(request);
      request.onerror = () => this.fail();
      request.send(this.options.data);
    }

    /** Let go of the attempt that is under way, or about to be made. */
    stop() {
      clearTimeout(this.retry);
      const request = this.request;
      this.request = null;
      if (!request) return;
      request.onload = request.onerror = null;
      request.abort();
    }

    /** There is an answer, whatever it says. @param {XMLHttpRequest} request */
    end(request) {
      uploads.delete(this);
      const { status, statusText, responseText } = request;
      this.complete(status, statusText, { text: responseText }, request.getAllResponseHeaders());
    }

    /** There is none. */
    fail() {
      if (connected && (this.failures += 1) >= ATTEMPTS) return this.giveUp();
      this.retry = setTimeout(() => this.attempt(), this.wait);
      this.wait = Math.min(2 * this.wait, LONGEST_WAIT_MS);
    }

    giveUp() {
      this.stop();
      uploads.delete(this);
      this.complete(0, "error");
    }

    /** There is a network again. Nobody tells a request that has been silent whether it is on its way still. */
    goOn() {
      this.failures = 0;
      this.wait = FIRST_WAIT_MS;
      if (!this.request || this.movedAt <= lostAt) this.attempt();
    }
  }

  document.addEventListener("shiny-sticky:connection", (event) => {
    const { state } = /** @type {CustomEvent} */ (event).detail;
    if (state === "lost") {
      connected = false;
      lostAt = performance.now();
    } else if (state === "ended") {
      connected = true;
      for (const upload of uploads) upload.giveUp();
    } else if (state === "connected" || state === "resumed") {
      connected = true;
      for (const upload of uploads) upload.goOn();
    }
  });

  /** @type {any} */ (window).jQuery?.ajaxTransport("+*", (/** @type {any} */ options) =>
    options.type === "POST" && UPLOAD.test(options.url) ? new Upload(options) : undefined,
  );
})();
