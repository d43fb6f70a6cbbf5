// When a page's process is gone, and its session with it, a new one begins with the inputs that the page has: by itself,
// or when its visitor asks for it. What it does it tells by the event `shiny-sticky:connection`, as resume.js does, of
// which it hears that a session has ended. docs/reconnect.md says more.
// @ts-check

(() => {
  "use strict";

  const MODE = /** @type {HTMLElement} */ (document.currentScript).dataset.reconnect;
  if (MODE === "off") return;

  const BY_ITSELF = MODE === "inputs";

  // Codes of an ended session, as resume.js has them: the page said what cannot be, or is another user's; the process
  // was told to end.
  const REFUSED = 4403, RESTARTING = 1012;

  // All pages of a dead process come at once, each after another part of that time; then it doubles.
  const FIRST_WAIT_MS = 300;
  const LONGEST_WAIT_MS = 5000;

  // What a connection may take until it is there.
  const ATTEMPT_MS = 20000;

  // The inputs may be what has ended the process, or has made it hang. So where one that was given them has not been
  // heard for so long, no third one is given them by itself.
  const PROVEN_SECONDS = 30;

  // The input by which the new session is told whose uploaded files it takes over. Shiny keeps to itself what is called
  // like that, and upload_handover.py knows the kind.
  const UPLOADS = ".clientdata_uploads:shiny-sticky.uploads";

  // The input by which Shiny learns what it is to restore.
  const SEARCH = ".clientdata_url_search";

  /** @typedef {{state: string, code: number, closed: boolean, seconds: number, page?: string,
   * bookmark?: string}} Told */

  class Reconnection {
    constructor() {
      /** "open": there is a session, or none that may be replaced; "asking": its visitor may ask for a new one;
       * "trying": to begin one. @type {"open" | "asking" | "trying"} */
      this.state = "open";
      /** What the app has said of it, by `session.allow_reconnect()`. @type {boolean | "force" | undefined} */
      this.allowed = undefined;
      /** What shows that the session which has ended was this page's. @type {string | undefined} */
      this.page = undefined;
      /** The last bookmark of that session, as in a URL. @type {string | undefined} */
      this.bookmark = undefined;
      /** Whether the session has begun with inputs of the page's. */
      this.again = false;
      this.wait = FIRST_WAIT_MS;
      this.timer = 0;
    }

    connected() {
      clearTimeout(this.timer);
      this.again = this.state === "trying";
      this.state = "open";
      this.allowed = undefined;
    }

    /** A session has ended, or could not begin. @param {Told} told */
    ended(told) {
      this.page = told.page ?? this.page;
      this.bookmark = told.bookmark ?? this.bookmark;
      if (this.state === "trying") return this.tryLater();
      if (told.closed || told.code === REFUSED || this.allowed === false) return;
      if (BY_ITSELF && this.isHarmless(told)) this.begin();
      else if (this.allowed !== "force") this.offer();
    }

    /** Whether the page's inputs were not what has ended its process, as far as that can be seen. @param {Told} told */
    isHarmless(told) {
      return !this.again || told.code === RESTARTING || told.seconds >= PROVEN_SECONDS;
    }

    begin() {
      this.state = "trying";
      this.wait = FIRST_WAIT_MS;
      this.tryLater();
    }

    /** Leave it to the visitor. */
    offer() {
      this.state = "asking";
      tellSoon("reconnectable");
    }

    /** Wait before the next attempt, longer each time. */
    tryLater() {
      clearTimeout(this.timer);
      keepShinyFromIt();
      const wait = this.wait * (0.5 + Math.random() / 2);
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
      this.timer = setTimeout(() => this.attempt(), wait);
      tellSoon("reconnecting", { seconds: wait / 1000 });
    }

    /** Connect, if nothing does already. */
    attempt() {
      const { shinyapp } = window.Shiny;
      if (this.state !== "trying" || shinyapp.isConnected()) return;
      clearTimeout(this.timer);
      this.connect(shinyapp);
      const socket = shinyapp.$socket;
      this.timer = setTimeout(() => socket.close(), ATTEMPT_MS);
    }

    /** Let Shiny begin a session, with more than it knows of itself; it copies its inputs for that. @param {any} shinyapp */
    connect(shinyapp) {
      const inputs = shinyapp.$inputValues;
      const search = inputs[SEARCH];
      if (this.bookmark) inputs[SEARCH] = withBookmark(window.location.search, this.bookmark);
      if (this.page) inputs[UPLOADS] = this.page; // behind all others, so that it is read last
      shinyapp.reconnect();
      inputs[SEARCH] = search;
      delete inputs[UPLOADS];
    }

    /** The visitor wants a new session. */
    asked() {
      if (this.state !== "asking") return;
      this.begin();
      this.attempt();
    }

    /** There is a network again, or somebody who looks. */
    hurry() {
      if (this.state !== "trying") return;
      this.wait = FIRST_WAIT_MS;
      this.attempt();
    }
  }

  /** Shiny begins a new session by itself where the app says "force", later: not while this is done here. */
  function keepShinyFromIt() {
    const { shinyapp } = window.Shiny;
    const allowed = shinyapp.$allowReconnect;
    shinyapp.$allowReconnect = false; // for as long as it hears of this end
    queueMicrotask(() => (shinyapp.$allowReconnect = allowed));
  }

  /** A page's query with a bookmark in place of one that it may have. @param {string} search @param {string} bookmark */
  function withBookmark(search, bookmark) {
    const pairs = search.slice(1).split("&").filter((pair) => pair && !pair.startsWith("_state_id_="));
    const state = pairs.findIndex((pair) => /^_(inputs|values)_(=|$)/.test(pair));
    return `?${[...(state < 0 ? pairs : pairs.slice(0, state)), bookmark].join("&")}`;
  }

  /** Tell others on the page once all have heard what has happened. @param {string} state @param {object} [more] */
  function tellSoon(state, more) {
    const detail = { state, ...more };
    queueMicrotask(() => document.dispatchEvent(new CustomEvent("shiny-sticky:connection", { detail })));
  }

  const reconnection = new Reconnection();

  document.addEventListener("shiny-sticky:connection", (event) => {
    const told = /** @type {CustomEvent} */ (event).detail;
    if (told.state === "connected") reconnection.connected();
    else if (told.state === "ended") reconnection.ended(told);
  });
  document.addEventListener("shiny-sticky:reconnect", () => reconnection.asked());
  document.addEventListener("shiny-sticky:retry", () => reconnection.hurry());
  document.addEventListener("visibilitychange", () => document.hidden || reconnection.hurry());
  window.addEventListener("online", () => reconnection.hurry());
  window.jQuery(document).on("shiny:message", (/** @type {{message: any}} */ { message }) => {
    if ("allowReconnect" in message) reconnection.allowed = message.allowReconnect;
  });
})();
