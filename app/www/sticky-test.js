// The sticky test: this page's requests to its own session, one after another. Each answer has to come from
// the process that the page lives in. The server sends that process's name when a session begins.
(() => {
  const TIMEOUT_MS = 60_000;  // a late answer is no wrong one

  const attempts = document.getElementById("sticky-attempts");
  const progress = document.getElementById("sticky-progress");
  const result = document.getElementById("sticky-result");
  const buttons = ["sticky-run", "sticky-bare"].map((id) => document.getElementById(id));

  let page;         // {url, worker, pid, session} of the session this page is connected to
  let latest = 0;   // a reconnect starts a new run; the one it overtakes falls silent

  function show(state, sentence) {
    result.dataset.state = state;
    result.textContent = sentence;
    for (const button of buttons) button.disabled = state === "running";
  }

  function count(n) {
    attempts.textContent = n;
    progress.value = n;
  }

  // Make request n. Throws an Error whose message says what was wrong with the answer.
  async function request({ url, worker, pid, session }, n, credentials) {
    const address = new URL(url, document.baseURI);
    address.searchParams.set("n", n);
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(address, { cache: "no-store", credentials, signal });
    if (response.status !== 200) {
      const status = `HTTP ${response.status} ${response.statusText}`.trim();
      throw new Error(`${status} instead of an answer from ${worker} (pid ${pid})`);
    }
    const answer = await response.json().catch(() => null);
    if (typeof answer?.pid !== "number") throw new Error("the answer names no process");
    if (answer.worker !== worker || answer.pid !== pid) {
      throw new Error(`${answer.worker} (pid ${answer.pid}) answered, not ${worker} (pid ${pid})`);
    }
    // The launcher puts the incarnation before the ids that the websocket brings: app2.k3f9-<id>.
    if (!answer.session || !session.endsWith(answer.session)) throw new Error("another session answered");
    if (answer.n !== n) throw new Error(`the answer is that of request ${answer.n}`);
  }

  // Make all requests; credentials: "omit" sends no cookie, as a browser that blocks them.
  async function run(credentials) {
    const mine = ++latest;
    const total = progress.max;
    const { worker, pid } = page;
    show("running", `Asking ${worker} (pid ${pid}).`);
    for (let n = 1; n <= total; n++) {
      count(n);
      try {
        await request(page, n, credentials);
        if (mine !== latest) return;
      } catch (error) {
        if (mine === latest) show("failed", `Failed at request ${n}: ${error.message}.`);
        return;
      }
    }
    const how = credentials === "omit" ? ", without a cookie" : "";
    show("passed", `${total} of ${total} requests reached ${worker} (pid ${pid})${how}.`);
  }

  for (const button of buttons) button.disabled = true;
  for (const [button, credentials] of [[buttons[0], "same-origin"], [buttons[1], "omit"]]) {
    button.addEventListener("click", () => run(credentials));
  }
  Shiny.addCustomMessageHandler("sticky-test", (message) => {
    page = message;
    document.dispatchEvent(new CustomEvent("demo:session", { detail: message }));
    run("same-origin");  // not awaited: Shiny handles one message at a time
  });
})();
