// A bar at the foot of the page that tells its visitor what goes on: no connection, the end of the session, a new
// version, an announcement. It hears of it by two events of the document, `shiny-sticky:connection` and `shiny-sticky:notice`, which
// resume.js sends. Until there is something to tell, there is no bar, and no timer runs. docs/notices.md says more.
// @ts-check

(() => {
  "use strict";

  /** @typedef {"lost" | "now" | "ended" | "reload" | "reconnectable" | "reconnect" | "reconnecting" | "leaving" |
   * "stopping" | "new_version" | "switch" | "close"} TextName */
  /** @typedef {"ended" | "reconnectable" | "reconnecting" | "lost" | "stopping" | "leaving" | "announcement" |
   * "new_version"} Kind */

  const OPTIONS = /** @type {HTMLElement} */ (document.currentScript).dataset;

  // Texts of an app's own stand in the script's tag, for all languages; without any, visitors are told nothing.
  if (OPTIONS.texts === undefined) return;
  const OWN_TEXTS = JSON.parse(OPTIONS.texts);

  /** @type {Record<string, Record<TextName, string>>} */
  const TEXTS = {
    en: {
      lost: "Connection lost. Reconnecting…", now: "Try now",
      ended: "This session has ended.", reload: "Reload",
      reconnectable: "This session has ended. Start a new one with your inputs?", reconnect: "Start",
      reconnecting: "Your session has ended. Starting a new one with your inputs…",
      leaving: "This session ends soon. Save your work, then reload.",
      stopping: "This site is about to stop. Save your work.",
      new_version: "A new version is ready.", switch: "Switch", close: "Close",
    },
    de: {
      lost: "Verbindung unterbrochen. Wird wiederhergestellt…", now: "Jetzt versuchen",
      ended: "Diese Sitzung ist beendet.", reload: "Neu laden",
      reconnectable: "Diese Sitzung ist beendet. Eine neue mit Ihren Eingaben beginnen?", reconnect: "Beginnen",
      reconnecting: "Ihre Sitzung ist beendet. Eine neue beginnt mit Ihren Eingaben…",
      leaving: "Diese Sitzung endet bald. Bitte sichern, dann neu laden.",
      stopping: "Diese Website wird gleich angehalten. Bitte sichern.",
      new_version: "Eine neue Version ist da.", switch: "Wechseln", close: "Schließen",
    },
    fr: {
      lost: "Connexion perdue. Reconnexion…", now: "Réessayer",
      ended: "Cette session est terminée.", reload: "Recharger",
      reconnectable: "Cette session est terminée. En commencer une autre avec vos saisies ?", reconnect: "Commencer",
      reconnecting: "Votre session est terminée. Une autre commence avec vos saisies…",
      leaving: "Cette session se termine bientôt. Enregistrez, puis rechargez la page.",
      stopping: "Ce site va s’arrêter. Enregistrez votre travail.",
      new_version: "Une nouvelle version est disponible.", switch: "Y passer", close: "Fermer",
    },
    es: {
      lost: "Se ha perdido la conexión. Reconectando…", now: "Reintentar",
      ended: "Esta sesión ha terminado.", reload: "Recargar",
      reconnectable: "Esta sesión ha terminado. ¿Iniciar otra con sus datos?", reconnect: "Iniciar",
      reconnecting: "Su sesión ha terminado. Se inicia otra con sus datos…",
      leaving: "Esta sesión termina pronto. Guarde su trabajo y recargue la página.",
      stopping: "Este sitio está a punto de detenerse. Guarde su trabajo.",
      new_version: "Hay una nueva versión.", switch: "Cambiar", close: "Cerrar",
    },
    zh: {
      lost: "连接已断开，正在重新连接…", now: "立即重试",
      ended: "此会话已结束。", reload: "重新加载",
      reconnectable: "此会话已结束。要用您的输入开始新会话吗？", reconnect: "开始",
      reconnecting: "您的会话已结束，正在用您的输入开始新会话…",
      leaving: "此会话即将结束。请保存您的工作，然后重新加载。",
      stopping: "本网站即将停止服务。请保存您的工作。",
      new_version: "新版本已就绪。", switch: "切换", close: "关闭",
    },
    ja: {
      lost: "接続が切れました。再接続しています…", now: "今すぐ再試行",
      ended: "このセッションは終了しました。", reload: "再読み込み",
      reconnectable: "このセッションは終了しました。入力内容を引き継いで新しく始めますか？", reconnect: "始める",
      reconnecting: "セッションが終了しました。入力内容を引き継いで新しく始めています…",
      leaving: "このセッションはまもなく終了します。保存してから再読み込みしてください。",
      stopping: "このサイトはまもなく停止します。作業を保存してください。",
      new_version: "新しいバージョンがあります。", switch: "切り替える", close: "閉じる",
    },
  };

  // A screen reader reads out what comes into a region that it knows already, so the region comes first.
  const REGION_MS = 100;

  // What each notice has, the most urgent first: ms before it is shown, in which it may have become needless; its
  // buttons, with what they do.
  /** @type {Record<Kind, {after: number, buttons: [TextName, () => void][]}>} */
  const NOTICES = {
    // Shiny begins a new session by itself where the app allows that, and says so a moment after the end.
    ended: { after: 500, buttons: OPTIONS.reconnect === "off" ? [] : [["reload", reload]] },
    reconnectable: { after: 500, buttons: [["reconnect", () => ask("reconnect")]] },
    reconnecting: { after: 400, buttons: [["now", () => ask("retry")]] },
    lost: { after: 1000, buttons: [["now", () => ask("retry")]] },
    stopping: { after: REGION_MS, buttons: [["close", () => bar.dismiss("stopping")]] },
    leaving: { after: REGION_MS, buttons: [["reload", reload], ["close", () => bar.dismiss("leaving")]] },
    announcement: { after: REGION_MS, buttons: [["close", () => bar.dismiss("announcement")]] },
    new_version: { after: REGION_MS, buttons: [["switch", reload], ["close", () => bar.dismiss("new_version")]] },
  };

  const KINDS = /** @type {Kind[]} */ (Object.keys(NOTICES));

  // What means nothing any more when the session is over.
  const OF_SESSION = /** @type {Kind[]} */ (["lost", "stopping", "leaving", "new_version"]);

  // The page's own style sheets do not reach in here, but for these properties: --shiny-sticky-background,
  // --shiny-sticky-color, --shiny-sticky-border, --shiny-sticky-accent, --shiny-sticky-font. Dark is what the page's
  // color-scheme says, as Bootstrap sets it.
  const STYLE = `
    :host { all: initial !important; color-scheme: inherit !important; }
    section {
      --paper: #fff; --ink: #1f2328; --line: #d0d7de; --link: #0b57d0;
      --calm: #1a7f64; --warn: #b35900; --stop: #c4314b;
      position: fixed; z-index: 2147483647; inset: auto 0 0 0; pointer-events: none;
      display: flex; flex-direction: column; align-items: center; gap: 8px; padding: 0 12px 16px;
      font: 14px/1.4 var(--shiny-sticky-font, system-ui, sans-serif); color: var(--shiny-sticky-color, var(--ink));
    }
    @supports (color: light-dark(#000, #fff)) {
      section {
        --paper: light-dark(#fff, #272c33); --ink: light-dark(#1f2328, #e9edf2);
        --line: light-dark(#d0d7de, #4a525c); --link: light-dark(#0b57d0, #9ac0ff);
        --calm: light-dark(#1a7f64, #57c7a6); --warn: light-dark(#b35900, #f0a54a);
        --stop: light-dark(#c4314b, #ff8496);
      }
    }
    div {
      pointer-events: auto; box-sizing: border-box; max-width: min(640px, 100%);
      display: flex; align-items: center; gap: 4px 12px; padding: 8px 10px 8px 14px;
      background: var(--shiny-sticky-background, var(--paper)); border-radius: 8px;
      border: 1px solid var(--shiny-sticky-border, var(--line)); box-shadow: 0 6px 24px rgb(0 0 0 / .18);
      animation: come .2s ease-out;
    }
    div::before { content: ""; flex: none; width: 8px; height: 8px; border-radius: 50%; background: var(--calm); }
    div.lost::before, div.reconnecting::before, div.stopping::before, div.leaving::before { background: var(--warn); }
    div.ended::before, div.reconnectable::before { background: var(--stop); }
    section:has(.leaving) .new_version { display: none; } /* which asks for the same */
    section:has(.stopping) :is(.leaving, .new_version) { display: none; } /* for which nobody has a use */
    p { margin: 0; min-width: 0; overflow-wrap: anywhere; }
    span { flex: none; font-variant-numeric: tabular-nums; opacity: .75; min-width: 2.2em; text-align: end; }
    span:empty { display: none; }
    nav { flex: none; display: flex; gap: 4px; margin-inline-start: auto; }
    @media (max-width: 480px) {
      div { flex-wrap: wrap; }
      p { flex: 1 1 0; min-width: 11em; } /* with less of it, buttons go below */
    }
    button {
      font: inherit; font-weight: 600; color: var(--shiny-sticky-accent, var(--link)); cursor: pointer;
      background: none; border: 0; border-radius: 6px; padding: 4px 10px; min-height: 32px;
    }
    button:hover { background: color-mix(in srgb, currentColor 12%, transparent); }
    button:focus-visible { outline: 2px solid currentColor; outline-offset: -2px; }
    button.close { color: inherit; font-weight: 400; opacity: .75; padding: 4px 8px; }
    @keyframes come { from { opacity: 0; transform: translateY(8px); } }
    @media (prefers-reduced-motion: reduce) { div { animation: none; } }
    @media print { section { display: none; } }
  `;

  /** The notices that are shown, one above the other, the most urgent on top. */
  class Bar {
    constructor() {
      /** Timers of notices that are to be shown in a moment. @type {Map<Kind, number>} */
      this.coming = new Map();
      /** @type {Map<Kind, HTMLElement>} */
      this.rows = new Map();
      /** When what a notice tells of happens: ms, by the clock of `performance`. @type {Map<Kind, number>} */
      this.deadlines = new Map();
      /** Those that the visitor has closed. @type {Set<Kind>} */
      this.dismissed = new Set();
      /** What is announced; empty for nothing. */
      this.announced = "";
      this.ticking = 0;
      /** What is in the page, from the first notice on. @type {HTMLElement | null} */
      this.region = null;
    }

    /**
     * Show a notice in a moment, if nothing is known by then that makes it needless.
     * @param {Kind} kind
     * @param {() => boolean} [holds] says so
     */
    show(kind, holds = () => true) {
      if (this.rows.has(kind) || this.coming.has(kind) || this.dismissed.has(kind)) return;
      const region = (this.region ??= makeRegion());
      const draw = () => {
        this.coming.delete(kind);
        if (!holds()) return;
        const row = makeRow(kind);
        this.rows.set(kind, row);
        region.append(row);
        this.tick();
      };
      this.coming.set(kind, setTimeout(draw, NOTICES[kind].after));
    }

    /** @param {Kind} kind */
    hide(kind) {
      clearTimeout(this.coming.get(kind));
      this.coming.delete(kind);
      this.deadlines.delete(kind);
      this.rows.get(kind)?.remove();
      this.rows.delete(kind);
    }

    hideAll() {
      KINDS.forEach((kind) => this.hide(kind));
      this.dismissed.clear();
      this.announced = "";
    }

    /** Show what whoever runs the site has to say, in place of what was said before. @param {string} said */
    announce(said) {
      if (said === this.announced) return; // it is told again whenever the connection is back
      this.hide("announcement");
      this.dismissed.delete("announcement");
      this.announced = said;
      if (said) this.show("announcement");
    }

    /** @param {Kind} kind */
    dismiss(kind) {
      this.hide(kind);
      this.dismissed.add(kind);
    }

    /** Count down to what a notice tells of. @param {Kind} kind @param {number} seconds */
    countDown(kind, seconds) {
      this.deadlines.set(kind, performance.now() + 1000 * seconds);
      this.tick();
    }

    /** Write how many seconds are left, and again in a while, as long as some are. */
    tick() {
      clearTimeout(this.ticking);
      let counting = false;
      for (const [kind, row] of this.rows) {
        const left = Math.ceil(((this.deadlines.get(kind) ?? 0) - performance.now()) / 1000);
        const counter = /** @type {HTMLElement} */ (row.querySelector("span"));
        counter.textContent = left > 0 ? `${left} s` : "";
        counting ||= left > 0;
      }
      if (counting) this.ticking = setTimeout(() => this.tick(), 250);
    }
  }

  const bar = new Bar();

  /** What becomes of the connection, by the states of `shiny-sticky:connection`. @type {Record<string, Function>} */
  const CONNECTION = {
    connected: () => bar.hideAll(), // with a new session, whose worker tells anew
    lost: () => bar.show("lost"),
    waiting: (/** @type {{seconds: number}} */ { seconds }) => bar.countDown("lost", seconds),
    resumed: () => bar.hide("lost"),
    ended() {
      OF_SESSION.forEach((kind) => bar.hide(kind));
      bar.show("ended", () => !comesBack());
    },
    reconnectable() {
      bar.hide("ended");
      bar.hide("reconnecting");
      bar.show("reconnectable", () => !comesBack());
    },
    reconnecting(/** @type {{seconds: number}} */ { seconds }) {
      bar.hide("ended");
      bar.hide("reconnectable");
      bar.show("reconnecting");
      bar.countDown("reconnecting", seconds);
    },
  };

  document.addEventListener("shiny-sticky:connection", (event) => {
    const { detail } = /** @type {CustomEvent} */ (event);
    CONNECTION[detail.state]?.(detail);
  });

  document.addEventListener("shiny-sticky:notice", (event) => {
    const { kind, seconds, text } = /** @type {CustomEvent} */ (event).detail;
    if (!KINDS.includes(kind)) return; // of a newer worker, which knows more of them
    if (kind === "announcement") return bar.announce(text);
    if (seconds !== undefined) bar.countDown(kind, seconds);
    bar.show(kind);
  });

  /** Whether Shiny is about to begin a new session, or has begun one, or somebody has cleared its overlay away. */
  function comesBack() {
    const overlay = document.getElementById("shiny-disconnected-overlay");
    return !overlay || document.getElementById("shiny-reconnect-text") !== null;
  }

  function reload() {
    location.reload();
  }

  /** Have the scripts beside this one do something. @param {string} what */
  function ask(what) {
    document.dispatchEvent(new Event(`shiny-sticky:${what}`));
  }

  /** @returns {HTMLElement} an empty region in the page, in a shadow tree of its own */
  function makeRegion() {
    const host = document.createElement("shiny-sticky-notices");
    const shadow = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet(); // which no Content-Security-Policy forbids, as it would a style element
    sheet.replaceSync(STYLE);
    shadow.adoptedStyleSheets = [sheet];
    const region = document.createElement("section");
    region.setAttribute("role", "status");
    region.setAttribute("aria-live", "polite");
    region.lang = language();
    shadow.append(region);
    document.documentElement.append(host); // not into the body, whose children the app may count or lay out
    return region;
  }

  /** @param {Kind} kind @returns {HTMLElement} */
  function makeRow(kind) {
    const row = document.createElement("div");
    row.className = kind;
    row.style.order = String(KINDS.indexOf(kind));
    const counter = document.createElement("span");
    counter.ariaHidden = "true"; // to be heard each second, it is too much
    const buttons = document.createElement("nav");
    buttons.append(...NOTICES[kind].buttons.map(([name, act]) => makeButton(name, act)));
    const said = document.createElement("p");
    said.textContent = kind === "announcement" ? bar.announced : text(kind);
    row.append(said, counter, buttons);
    return row;
  }

  /** @param {TextName} name @param {() => void} act @returns {HTMLElement} */
  function makeButton(name, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = name;
    button.textContent = name === "close" ? "✕" : text(name);
    if (name === "close") button.ariaLabel = button.title = text(name);
    button.addEventListener("click", act);
    return button;
  }

  /** @param {TextName} name @returns {string} */
  function text(name) {
    return OWN_TEXTS[name] ?? TEXTS[language()][name];
  }

  /** @returns {string} the first language of the browser's that there are texts in */
  function language() {
    const wanted = navigator.languages.map((tag) => tag.toLowerCase().split("-")[0]);
    return wanted.find((tag) => Object.hasOwn(TEXTS, tag)) ?? "en";
  }
})();
