"""The documents are true: their commands run, tables are complete, examples are valid, links lead somewhere."""

import ast
import functools
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from shiny_sticky.front import nginx_program
from support.real_site import ECHO, NGINX, ROOT, Site, until
from support.settings_keys import all_keys

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
FILES = [ROOT / "README.md", *PAGES, ROOT / "CHANGELOG.md"]
README, *_ = TEXTS = [file.read_text() for file in FILES]
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
MESSAGES = (ROOT / "docs" / "troubleshooting.md").read_text()


# What it says is done on a machine of its own, in tests/promises/test_service.py.
SERVICE = (ROOT / "docs" / "service.md").read_text()


def blocks(language: str, texts: list[str] = TEXTS) -> list[str]:
    found = (re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for text in texts)
    return [block for blocks in found for block in blocks]


ELSEWHERE = [text for text in TEXTS if text != SERVICE]
COMMANDS = [shlex.split(line, comments=True) for block in blocks("sh", ELSEWHERE) for line in block.splitlines()]

# CI's own: .ci/run does what they do, and the launcher's tests are what `make run` does after the set-up.
# An app of one's own with `make run` is what test_setup.py has.
BY_CI = [["make", target] for target in ("run", "test", "check", "test-all", "test-nginx")]
BY_CI += [["make", "run", "APP=app.py"], ["make", "-C", "shiny-sticky", "run", "APP=$PWD/app.py"]]


def test_every_command_of_the_documents_runs():
    """In a site whose settings are the shipped ones, but for the port and folders."""
    site = Site({"app": {"target": str(ROOT / "app" / "app.py"), "workers": 2}}, run_dir="run")
    with site:
        site.env["BROWSER"] = "true %s"
        done = []
        for command in COMMANDS:
            match command:
                case ["make", "-C", "shiny-sticky", target, *_] | ["make", target, *_]:
                    listed = subprocess.run(
                        ["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True
                    )
                    assert f"make {target} " in listed.stdout
                    assert command in BY_CI
                case ["python3", "launcher.py", "config.yaml"]:
                    site.start()
                    assert site.ask().status == 200
                case ["python3", "launcher.py", "--no-nginx", "config.yaml"]:
                    assert site.stop() == 0
                    site.start("--no-nginx")
                case ["python3", "launcher.py", "app.py", *options]:
                    serves_without_settings(options)
                case ["python3", "launcher.py", "verify", *options, _]:
                    verifies(site, options)
                case ["python3", "launcher.py", "init", *arguments]:
                    writes_settings(arguments)
                case ["python3", "launcher.py", *arguments]:
                    ran = site.command(*arguments)
                    assert ran.returncode == 0, ran.stderr
                case ["nginx", "-p", "$PWD", "-c", conf]:
                    program = nginx_program.find(NGINX).path
                    subprocess.run([program, "-p", site.folder, "-c", conf], check=True, cwd=site.folder)
                    until(site.nginx_pid, "nginx runs")
                    assert site.ask().status == 200
                case _:
                    pytest.fail(f"no test runs {shlex.join(command)}")
            done.append(command)
        assert len(done) >= 7


def without_settings() -> Site:
    """A folder with an app in it, as a reader has it."""
    site = Site({"app": {"target": "app.py", "workers": 8}})
    site.config.unlink()
    shutil.copy(ECHO, site.folder / "app.py")
    return site


def serves_without_settings(options: list[str]) -> None:
    with without_settings() as site:
        if "-p" in options:
            options[options.index("-p") + 1] = "PORT"
        else:
            options += ["-p", "PORT"]
        workers = int(options[options.index("-w") + 1]) if "-w" in options else 4
        site.settings["apps"]["app"]["workers"] = workers
        site.start("app.py", *options, config=False)
        assert site.ask(cookie=f"sticky=app{workers}").worker == f"app{workers}"


def verifies(site: Site, options: list[str]) -> None:
    """In a shorter time than a reader takes."""
    if "--for" in options:
        options[options.index("--for") + 1] = "1s"
    ran = site.command("verify", "--patience", "0.5s", *options, f"http://127.0.0.1:{site.port}")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def writes_settings(arguments: list[str]) -> None:
    with without_settings() as site:
        assert site.command("init", *arguments).returncode == 0
        assert site.command("--check", "config.yaml").returncode == 0


def test_the_table_of_settings_is_complete_and_true():
    rows = dict(re.findall(r"^\| `([a-z_.<>]+)` \| `([^`]*)` \|", SETTINGS, re.MULTILINE))
    defaults = dict(all_keys())
    assert list(rows) == list(defaults)
    for key, field in defaults.items():
        default = field.get_default(call_default_factory=True)
        default = default[0] if key == "listen" else str(default) if key.endswith(("dir", "conf")) else default
        assert yaml.safe_load(rows[key]) == default, key


@pytest.mark.parametrize("example", blocks("yaml"))
def test_the_examples_are_valid_settings(site_of, example):
    site = site_of()
    for folder in (".", "lab", "stock", "app"):
        (site.folder / folder).mkdir(exist_ok=True)
        (site.folder / folder / "app.py").touch()
    (site.folder / "stock" / "venv" / "bin").mkdir(parents=True)
    (site.folder / "stock" / "venv" / "bin" / "python").touch(mode=0o755)
    # The port that it names need not be free here, nor may everybody open it.
    site.config.write_text(re.sub("^listen: .*", f"listen: 127.0.0.1:{site.port}", example, flags=re.MULTILINE))
    checked = site.command("--check", str(site.config))
    assert checked.returncode == 0, checked.stderr


def messages() -> list[str]:
    """The messages that are explained."""
    table = MESSAGES[: MESSAGES.index("\n\n", MESSAGES.index("|---|"))]
    cells = re.findall(r"^\| (.*?) \| ", table, re.MULTILINE)
    return [message for cell in cells for message in re.findall("`([^`]*)`", cell)]


@functools.cache
def texts() -> str:
    """Every text in the sources, one a line; what is filled in later is left out."""
    found = []
    for file in (ROOT / "shiny_sticky").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in parts))
    return "\n".join(found)


@pytest.mark.parametrize("message", messages())
def test_the_messages_explained_are_messages_that_are_given(message):
    """As far as that can be told: the longest piece of each that is the same every time stands in the sources."""
    pieces = re.split(r'\S+[.]\S+|…|\d+|[:;"()]|SIG\w+', message)
    assert max(pieces, key=len).strip() in texts()


def test_the_figures_shown_are_those_that_were_measured():
    results = (ROOT / "benchmarks" / "results" / "README.md").read_text()
    measured = [line for line in results.splitlines() if line.startswith("| CPU a routed request, µs |")]
    begin = results.index("| | **this project**")
    table = results[begin : results.index("\n\n", begin)]
    assert measured[0] in table
    assert table in README
    assert (ROOT / "benchmarks" / "results" / "overview.png").is_file()


def test_the_readme_fits_on_two_screens():
    assert len(README.splitlines()) <= 150


def anchors(file: Path) -> set[str]:
    """What a link may name in a document: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_link_leads_somewhere(file):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", file.read_text()):
        path, _, anchor = link.partition("#")
        target = file.parent / path if path else file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_named_in_the_readme():
    for file in PAGES:
        assert f"]({file.relative_to(ROOT)})" in README
