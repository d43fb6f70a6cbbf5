// A page whose websockets and timers are played by a test: `page` is what it asks, and what it does.
(() => {
  const sockets = [];
  const timers = new Map();
  let lastTimer = 0;

  class FakeWebSocket {
    constructor(url, protocols) {
      Object.assign(this, { url: String(url), protocols, protocol: "", sent: [], closed: null });
      sockets.push(this);
    }
    send(data) {
      this.sent.push(typeof data === "string" ? { text: data } : { bytes: [...data] });
    }
    close(code) {
      this.closed = code ?? 1000;
    }
  }

  const later = (act) => {
    timers.set(++lastTimer, act);
    return lastTimer;
  };
  const never = (timer) => timers.delete(timer);
  Object.assign(window, { WebSocket: FakeWebSocket, setTimeout: later, clearTimeout: never, setInterval: () => 0 });
  window.module = { exports: {} };

  window.page = {
    received: [],
    ended: null,
    begin() {
      const socket = (this.socket = new window.module.exports.ResumableSocket(new URL("http://here/")));
      socket.onmessage = ({ data }) => this.received.push(data);
      socket.onclose = ({ code }) => (this.ended = code);
    },
    /** What the page has sent since this was asked last, by the number of its websocket. */
    taken() {
      return sockets.map((socket) => ({ url: socket.url, closed: socket.closed, sent: socket.sent.splice(0) }));
    },
    opens(number) {
      sockets[number].protocol = sockets[number].protocols[0];
      sockets[number].onopen();
    },
    /** What one websocket has sent since then. */
    says(number) {
      return sockets[number].sent.splice(0);
    },
    hears(number, message) {
      const data = message.text ?? Uint8Array.from(message.bytes).buffer;
      sockets[number].onmessage({ data });
    },
    loses(number, code) {
      sockets[number].onclose({ code, reason: "" });
    },
    /** Let all the time pass that the page waits. */
    waits() {
      const due = [...timers.values()];
      timers.clear();
      for (const act of due) act();
    },
  };
})();
