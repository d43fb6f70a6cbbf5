// A switch for the network of this page: off, its websockets carry nothing more either way and no new one opens, as in
// a lift. What is under way is lost; only the page learns of it, for its server is not told by a lost network.
window.network = (() => {
  const KINDS = ["open", "message", "error", "close"];
  const open = new Set();
  const cut = new Set();
  let off = false;

  const lost = () => new CloseEvent("close", { code: 1006 });

  // A websocket that comes to nothing.
  function nowhere() {
    const socket = { readyState: WebSocket.CONNECTING, send() {}, close() {} };
    setTimeout(() => {
      socket.readyState = WebSocket.CLOSED;
      socket.onclose?.(lost());
    });
    return socket;
  }

  // These listeners come before those of whoever has asked for the socket, and let nothing of a cut one through.
  function watched(socket) {
    open.add(socket);
    for (const kind of KINDS) {
      socket.addEventListener(kind, (event) => {
        if (cut.has(socket) && event.isTrusted) event.stopImmediatePropagation();
        if (kind === "close" && event.isTrusted) for (const those of [open, cut]) those.delete(socket);
      });
    }
    return socket;
  }

  window.WebSocket = new Proxy(WebSocket, {
    construct: (Real, given) => (off ? nowhere() : watched(new Real(...given))),
  });

  return {
    switchOff() {
      off = true;
      for (const socket of open) {
        open.delete(socket);
        cut.add(socket);
        socket.send = () => {};
        socket.dispatchEvent(lost());
      }
    },
    switchOn() {
      off = false;
      for (const socket of cut) socket.close();
      window.dispatchEvent(new Event("online"));  // as browsers do
    },
  };
})();
