// The browser's part of the demo: it draws all workers in one picture, watches page loads, and says at each step what
// was seen. The server tells facts only, for after a step it may be another server.
(() => {
  const BEAT_MS = 1000;     // one page load a second
  const BEATS_SHOWN = 60;
  const SILENT_MS = 3000;   // a worker that says nothing for so long gets no new visitors
  const CUT_MS = 5000;      // the network is cut for so long, in which this page says so many things
  const SAYINGS = 10;

  const find = (id) => document.getElementById(id);
  const all = (selector) => document.querySelectorAll(selector);
  const named = ({ worker, pid }) => `${worker} (pid ${pid})`;
  const duration = (ms) => (ms < 1000 ? `${Math.ceil(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
  const count = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;

  let home;             // {worker, incarnation, pid, session}: where this page lives
  let processes = [];   // all that serve the app: {worker, incarnation, pid, started, sessions}
  let cut;              // when the connection was lost
  let moved;            // where this page lived before, until the new process has shown the inputs again
  let gap;              // while the network is cut, and until the page has caught up: {session, ended, heard}

  // Say at a step what has happened.
  function seen(step, sentence, state = "passed") {
    const place = find(`seen-${step}`);
    place.dataset.state = state;
    place.textContent = sentence;
  }

  // --- where this page lives

  $(document).on("shiny:disconnected", () => (cut ??= performance.now()));

  document.addEventListener("demo:session", ({ detail }) => {
    if (home && home.pid !== detail.pid) moved = { from: home, after: performance.now() - (cut ?? performance.now()) };
    home = detail;
    cut = undefined;
    if (gap && gap.session !== home.session) caughtUp("The session went with its connection; this is another one.", "failed");
    for (const place of all("[data-fact=pid]")) place.textContent = home.pid;
    draw();
  });

  $(document).on("shiny:value", ({ name, value }) => {
    if (name !== "click_count" || !moved) return;
    const { from, after } = moved;
    moved = undefined;
    const clicks = count(Number(value), "click");
    seen("kill", `${named(from)} is gone. ${duration(after)} later the page was back, in ${named(home)}, with ${clicks}.`);
  });

  Shiny.addCustomMessageHandler("downloaded", (by) => seen("download", `Made by ${named(by)}.`));

  // --- the network of this page

  const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));

  async function cutNetwork() {
    gap = { session: home.session, heard: [] };
    find("network-cut").disabled = true;
    seen("network", "Cut.", "running");
    network.switchOff();
    for (let n = 1; n <= SAYINGS; n++) {
      Shiny.setInputValue("said", n, { priority: "event" });
      await pause(CUT_MS / SAYINGS);
    }
    gap.ended = performance.now();
    network.switchOn();
  }

  function caughtUp(sentence, state) {
    gap = undefined;
    find("network-cut").disabled = false;
    seen("network", sentence, state);
  }

  find("network-cut").addEventListener("click", cutNetwork);

  Shiny.addCustomMessageHandler("heard", (n) => {
    gap?.heard.push(n);
    if (!gap || n < SAYINGS) return;
    const inOrder = gap.heard.every((heard, index) => heard === index + 1);
    caughtUp(
      `${duration(performance.now() - gap.ended)} after the cut the page had caught up, in the same session: of ` +
        `${SAYINGS} messages that it sent meanwhile ${gap.heard.length} have arrived${inOrder ? ", in order" : ""}.`,
      inOrder ? "passed" : "failed",
    );
  });

  // A network that was lost without this page's doing.
  let lostAt;

  document.addEventListener("shiny-sticky:connection", ({ detail: { state } }) => {
    if (state === "lost") lostAt = performance.now();
    if (state !== "resumed" || gap) return;
    seen("network", `The connection was lost for ${duration(performance.now() - lostAt)}. The session is the same.`);
  });

  // --- all workers

  const isHome = ({ incarnation }) => incarnation === home?.incarnation;

  // Whether another process has taken a process's place; they come in the order of their start.
  const leaves = ({ worker, incarnation }) =>
    processes.findLast((other) => other.worker === worker).incarnation !== incarnation;

  function add(parent, tag, kind, text = "") {
    const part = parent.appendChild(document.createElement(tag));
    part.className = kind;
    part.textContent = text;
    return part;
  }

  function tile(column, process) {
    const box = add(column, "div", isHome(process) ? "here" : leaves(process) ? "leaving" : "");
    box.dataset.incarnation = process.incarnation;
    const title = add(box, "span", "name", process.incarnation);
    if (isHome(process)) add(title, "span", "badge text-bg-primary", "this page");
    if (leaves(process)) add(title, "span", "badge text-bg-secondary", "leaves");
    const dots = add(box, "span", "dots");
    for (let n = 0; n < Math.min(process.sessions, 20); n++) add(dots, "i", "");
    add(box, "span", "sessions", count(process.sessions, "session"));
    add(box, "span", "note", `pid ${process.pid}`);
    add(box, "span", "note").dataset.since = process.started;
  }

  // One column a worker, with the process that serves as that on top, and those that leave below.
  function column([worker, own]) {
    const item = document.createElement("li");
    add(item, "h3", "", worker);
    for (const process of own.reverse()) tile(item, process);
    return item;
  }

  function draw() {
    const workers = new Map();
    for (const process of processes) workers.set(process.worker, [...(workers.get(process.worker) ?? []), process]);
    find("workers").replaceChildren(...[...workers].map(column));
    tellAges();
    const mine = processes.find(isHome);
    if (!mine) return;
    if (mine.sessions > 1) seen("tab", `${named(mine)} has ${count(mine.sessions, "session")}, this page's among them.`);
    const fresh = processes.filter((process) => process.started > mine.started && !leaves(process)).length;
    if (leaves(mine)) {
      seen("deploy", `${count(fresh, "new process", "new processes")} so far; this page lives on in ` +
        `${mine.incarnation} (pid ${mine.pid}).`);
    }
  }

  Shiny.addCustomMessageHandler("workers", (told) => {
    processes = told;
    draw();
  });

  // --- how long ago

  const relative = new Intl.RelativeTimeFormat("en");

  function ago(time) {
    const past = Math.max(0, Date.now() - time) / 1000;
    if (past < 5) return "just now";
    const [unit, length] = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].find(([, s]) => past >= s);
    return relative.format(-Math.floor(past / length), unit);
  }

  function tellAges() {
    for (const place of all("[data-since]")) place.textContent = ago(Number(place.dataset.since));
    for (const place of all("#started time")) place.textContent = ago(Date.parse(place.dateTime));
  }

  $(document).on("shiny:value", () => setTimeout(tellAges));
  setInterval(tellAges, 1000);

  // --- page loads, one a second

  let total;            // {answered, lost, longest}, since the first
  const since = {};     // the same for each step whose command was copied

  const none = () => ({ answered: 0, lost: 0, longest: 0, session: home?.session });

  function told({ answered, lost, longest }) {
    return `${count(answered, "page load")} answered, ${lost || "none"} lost; the longest took ${duration(longest)}.`;
  }

  async function load() {
    const began = performance.now();
    const mark = find("beats").appendChild(document.createElement("i"));
    if (find("beats").childElementCount > BEATS_SHOWN) find("beats").firstChild.remove();
    const slow = setTimeout(() => (mark.dataset.state = "slow"), SILENT_MS);
    const answered = await fetch("", { method: "HEAD", cache: "no-store" }).then(({ ok }) => ok, () => false);
    clearTimeout(slow);
    const took = performance.now() - began;
    mark.dataset.state = !answered ? "lost" : took > SILENT_MS ? "slow" : "answered";
    for (const tally of [total, ...Object.values(since)]) {
      tally[answered ? "answered" : "lost"] += 1;
      tally.longest = Math.max(tally.longest, took);
    }
    return took;
  }

  function report() {
    find("watched").textContent = told(total);
    for (const [step, tally] of Object.entries(since)) {
      const kept = tally.session === home.session;
      if (step === "freeze" && (tally.longest < SILENT_MS || !kept)) continue;
      const end = kept ? "The session is the same." : "The connection was cut, and came back.";
      seen(step, `Since you copied it: ${told(tally)} ${end}`, kept ? "passed" : "running");
    }
  }

  async function watch() {
    if (total) return;
    total = none();
    find("watch").hidden = true;
    for (;;) {
      const took = await load();
      report();
      await pause(BEAT_MS - took);
    }
  }

  find("watch").addEventListener("click", watch);

  // --- commands

  async function copy(code, button) {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {  // only pages from this machine, or by https, may
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }

  for (const button of all(".copy")) {
    button.addEventListener("click", () => {
      copy(button.previousElementSibling, button);
      const step = button.dataset.watch;
      if (step) {
        since[step] = none();
        seen(step, "Watching.", "running");
      }
      watch();
    });
  }
})();
