"""What the demo's page shows: where it lives, all workers in one picture, and what to try, step by step."""

from __future__ import annotations

from pathlib import Path

from shiny import ui

WWW = Path(__file__).parent / "www"

# How many requests the sticky test makes. The browser makes them; it reads the number from the page.
ATTEMPTS = 100


def page(launched: bool) -> ui.Tag:
    """Return the whole page.

    Args:
        launched: whether a launcher keeps the process; without one there is nothing to take its place.
    """
    return ui.page_fixed(
        ui.head_content(
            ui.tags.link(rel="icon", href="data:,"),  # or the browser asks for /favicon.ico, outside any mount
            # Inline, because Shiny's "link" copies the file into a temporary folder that all workers would share.
            ui.include_css(WWW / "demo.css", method="inline"),
        ),
        ui.tags.header(
            ui.div(
                ui.h1("Try to lose this page"),
                ui.p("It lives in one of several Python processes. Whatever you do to them, nobody is thrown out."),
            ),
            ui.input_dark_mode(id="mode", aria_label="Light or dark"),
        ),
        ui.tags.main(
            home_card(),
            workers_card(),
            ui.h2("In the browser"),
            ui.div(stay_step(), tab_step(), upload_step(), download_step(), network_step(), class_="steps"),
            ui.h2("From a terminal"),
            ui.p(terminal_note(launched)),
            ui.div(
                kill_step(),
                deploy_step(),
                freeze_step(),
                nginx_step(),
                parent_step(),
                pause_step(),
                launcher_step(),
                class_="steps",
            ),
            watch_card(),
        ),
        ui.include_js(WWW / "network.js", method="inline"),
        ui.include_js(WWW / "sticky-test.js", method="inline"),
        ui.include_js(WWW / "demo.js", method="inline"),
        title="Try to lose this page",
        lang="en",
    )


def terminal_note(launched: bool) -> str:
    """Return what to know before the steps that take a terminal."""
    if launched:
        return "Open a second terminal in the folder where you typed make run, and keep this page in sight."
    return (
        "This page is served without the launcher, so nothing would take a killed process's place. "
        "Start it with python3 launcher.py config.yaml first."
    )


def fact(title: str, *value: ui.TagChild) -> ui.Tag:
    """Return a term and what it is."""
    return ui.div(ui.tags.dt(title), ui.tags.dd(*value))


def home_card() -> ui.Tag:
    """Return the card that names the process and the session of the page."""
    return ui.card(
        ui.card_header("This page lives in"),
        ui.tags.dl(
            fact("Worker", ui.output_text("worker", inline=True)),
            fact("Incarnation", ui.output_text("incarnation", inline=True)),
            fact("Process id", ui.output_text("pid", inline=True)),
            fact("Started", ui.output_ui("started", inline=True)),
            fact("Session", ui.output_text("session", inline=True)),
            class_="facts",
        ),
    )


def workers_card() -> ui.Tag:
    """Return the card in which ``www/demo.js`` draws all processes of the app."""
    return ui.card(
        ui.card_header("All workers"),
        ui.tags.ul(id="workers", class_="workers", aria_live="polite"),
    )


def step(key: str, title: str, *content: ui.TagChild, see: str) -> ui.Tag:
    """Return one thing to try.

    Args:
        key: by which ``www/demo.js`` finds the place for what was seen.
        title: what is done.
        content: how to do it.
        see: what is to be seen.
    """
    return ui.tags.article(
        ui.h3(title),
        *content,
        ui.p(ui.tags.strong("You will see: "), see, class_="see"),
        ui.p("Not tried yet.", id=f"seen-{key}", class_="seen", role="status"),
        class_="step card",
    )


def command(text: str, *, pid: bool = False, watch: str = "") -> ui.Tag:
    """Return a command with a button that copies it.

    Args:
        text: the command.
        pid: whether the process id of the page's worker follows.
        watch: the step whose page loads are counted from then on.
    """
    code = ui.tags.code(text, ui.span("…", {"data-fact": "pid"}) if pid else None)
    button = ui.tags.button("Copy", {"data-watch": watch}, type="button", class_="copy btn btn-sm btn-default")
    return ui.div(code, button, class_="command")


def stay_step() -> ui.Tag:
    """Return the step that ``www/sticky-test.js`` plays."""
    return ui.tags.article(
        ui.h3("Stay"),
        ui.p(
            f"{ATTEMPTS} requests, one after another, to a route that only this session has. "
            "Any other process would answer 404."
        ),
        ui.div(
            ui.tags.button("Run again", id="sticky-run", type="button", class_="btn btn-sm btn-default"),
            ui.tags.button("Without cookies", id="sticky-bare", type="button", class_="btn btn-sm btn-default"),
            ui.span(ui.span("0", id="sticky-attempts"), f" of {ATTEMPTS}", class_="count"),
            class_="row-of",
        ),
        ui.tags.progress(id="sticky-progress", value="0", max=str(ATTEMPTS), aria_label="Requests made"),
        ui.p(
            ui.tags.strong("You will see: "),
            "the same process answers each, also where a browser blocks cookies: a session's addresses name it.",
            class_="see",
        ),
        ui.p(
            "Waiting for the session.",
            {"data-state": "running"},
            id="sticky-result",
            class_="seen",
            role="status",
        ),
        class_="step card",
    )


def tab_step() -> ui.Tag:
    """Return the step with a second tab."""
    return step(
        "tab",
        "Open a second tab",
        ui.p(
            ui.a("Open this page once more", href="", target="_blank"),
            ", then in a private window, which has no cookie.",
        ),
        see="the second tab comes to this worker, one session more in the picture; the private window to the next.",
    )


def upload_step() -> ui.Tag:
    """Return the step that takes a file, and reports what arrived."""
    return ui.tags.article(
        ui.h3("Upload a file"),
        ui.input_file("upload", "It goes up by plain HTTP, beside the websocket.", width="100%"),
        ui.p(ui.tags.strong("You will see: "), "it arrives whole, in the process of this page.", class_="see"),
        ui.div(ui.output_ui("upload_report", fill=False), class_="seen"),
        class_="step card",
    )


def download_step() -> ui.Tag:
    """Return the step with the download."""
    return step(
        "download",
        "Download a file",
        ui.div(ui.download_button("download", "Download", class_="btn-sm"), class_="row-of"),
        see="a small text file, in which the process that has made it names itself: the one of this page.",
    )


def network_step() -> ui.Tag:
    """Return the step that cuts the page's network, which ``www/network.js`` does."""
    return step(
        "network",
        "Cut the network",
        ui.p("For five seconds nothing of this page comes through either way, as in a lift; it goes on sending."),
        ui.div(
            ui.tags.button(
                "Cut the network for 5 s", id="network-cut", type="button", class_="btn btn-sm btn-default"
            ),
            class_="row-of",
        ),
        see="a line that comes and goes. The page stays in its session, and what it sent meanwhile arrives. "
        "Wi-Fi off for a while, or the lid of a laptop, is the same to it, for up to five minutes.",
    )


def kill_step() -> ui.Tag:
    """Return the step that kills the page's process."""
    return step(
        "kill",
        "Kill the worker that serves this page",
        ui.p("Count a little first."),
        ui.div(
            ui.input_action_button("clicks", "Count", class_="btn-sm"),
            ui.span(
                ui.output_text("click_count", inline=True),
                " ",
                ui.output_text("click_unit", inline=True),
                class_="count",
            ),
            class_="row-of",
        ),
        command("kill -9 ", pid=True),
        see="within about two seconds the page is back, in another process, with its inputs as they were. The dead "
        "worker has a new process in the picture. What the old one had in memory is gone: an uploaded file.",
    )


def deploy_step() -> ui.Tag:
    """Return the step that deploys."""
    return step(
        "deploy",
        "Deploy",
        ui.p("Change something in the folder app, if you like."),
        command("python3 launcher.py reload config.yaml"),
        see="each worker gets a new process, one after another. This page stays in its old one, which leaves with "
        "its last session; who opens the page now gets the new code.",
    )


def freeze_step() -> ui.Tag:
    """Return the step that stops the page's process for a while."""
    return step(
        "freeze",
        "Let the worker hang, and wake it",
        command("kill -STOP ", pid=True, watch="freeze"),
        command("kill -CONT ", pid=True),
        see="this page stands still, while a private window opens at once, in another worker. Woken, the page goes "
        "on where it was. (Five minutes later it would be replaced: hang_timeout.)",
    )


def nginx_step() -> ui.Tag:
    """Return the step that kills nginx."""
    return step(
        "nginx",
        "Kill nginx",
        command("kill -9 $(cat run/nginx.pid)", watch="nginx"),
        see="nothing: open sessions go on, and the launcher has a new nginx up in a fraction of a second.",
    )


def parent_step() -> ui.Tag:
    """Return the step that kills what workers are forked off."""
    return step(
        "parent",
        "Kill the process that workers are forked off",
        command("kill -9 $(cat run/app-*.pid)", watch="parent"),
        see="nothing: its workers serve on. The next one that is started brings a new one.",
    )


def pause_step() -> ui.Tag:
    """Return the step that stops the launcher for a while."""
    return step(
        "pause",
        "Stop the launcher, as Ctrl-Z does, and wake it",
        command("kill -STOP $(cat run/launcher.pid)", watch="pause"),
        command("kill -CONT $(cat run/launcher.pid)"),
        see="nothing: no request waits for the launcher. What workers print goes to a file until it is awake.",
    )


def launcher_step() -> ui.Tag:
    """Return the step that kills the launcher."""
    return step(
        "launcher",
        "Kill the launcher, and start it again",
        command("kill -9 $(cat run/launcher.pid)", watch="launcher"),
        command("python3 launcher.py config.yaml"),
        see="nothing at first: nginx and the workers do not need it. Started again, it takes over, "
        "and brings new workers as in a deploy.",
    )


def watch_card() -> ui.Tag:
    """Return the bar at the bottom with the page loads that ``www/demo.js`` makes, one a second."""
    return ui.tags.aside(
        ui.tags.button("Watch", id="watch", type="button", class_="btn btn-sm btn-default"),
        ui.span(
            "One page load a second, as by a visitor. Copying a command starts it.", id="watched", role="status"
        ),
        ui.div(id="beats", class_="beats", aria_hidden="true"),
        class_="watch card",
    )
