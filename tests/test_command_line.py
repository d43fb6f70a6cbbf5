"""The command line: an app is served without a settings file, commands are words, mistakes are named."""

import os
import re
import shutil
import subprocess
import sys
import venv

import pytest
import yaml

from shiny_sticky.cli import commands, main
from shiny_sticky.settings.read import load
from support.real_site import APPS, LAUNCHER, ROOT, Site
from support.settings_keys import all_keys


@pytest.fixture
def folder_of(site_of):
    """A factory of folders with an app in them and no settings file."""

    def make(app: str = "echo.py", name: str = "app.py") -> Site:
        site = site_of({"app": {"target": "app.py", "workers": 4}})
        site.config.unlink()
        shutil.copy(APPS / app, site.folder / name)
        return site

    return make


def serve(site: Site, *words: str, workers: int = 4) -> Site:
    """Start what the words say, and wait until it serves."""
    site.settings["apps"]["app"]["workers"] = workers
    return site.start(*words, config=False)


def test_an_app_is_served_without_a_settings_file(folder_of):
    site = serve(folder_of(), "app.py", "-p", "PORT")
    assert site.workers() == ["app1", "app2", "app3", "app4"]
    assert site.ask(cookie="sticky=app4").worker == "app4"
    assert "app4" in site.command("status").stdout
    before = site.incarnations()
    assert "Deployed 4 workers" in site.command("reload").stdout
    assert before.keys().isdisjoint({site.incarnation(worker) for worker in site.workers()})
    assert site.command("stop").stdout.splitlines()[-1] == "Stopped"
    assert site.launcher.wait(60) == 0
    site.check_nothing_left()
    assert not site.config.exists()


def test_its_options_are_those_that_other_servers_have(folder_of):
    site = serve(
        folder_of(name="mine.py"), "--workers", "2", "--port", "PORT", "--host", "::1", "mine:app", workers=2
    )
    says = site.says(r"^app is at ")
    assert says == [f"app is at http://[::1]:{site.port}/"]
    assert len(site.table()) == 2


def test_the_active_virtual_environment_serves_the_app(folder_of):
    site = folder_of("echo.py")
    (site.folder / "app.py").write_text(
        "import sys\n" + (APPS / "echo.py").read_text() + "\nME['python'] = sys.prefix\n"
    )
    venv.create(site.folder / "venv", with_pip=False)
    others = next(path for path in sys.path if path.endswith("site-packages"))
    (next((site.folder / "venv" / "lib").glob("python*/site-packages")) / "others.pth").write_text(others + "\n")
    site.env["VIRTUAL_ENV"] = str(site.folder / "venv")
    serve(site, "app.py", "-w", "1", "-p", "PORT", workers=1)
    assert site.ask().json["python"] == str(site.folder / "venv")


def test_init_writes_a_settings_file_that_says_the_same(folder_of):
    site = folder_of()
    done = site.command("init", "app.py", "-w", "2", "-p", str(site.port))
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load(site.config.read_text())
    assert written["listen"] == f"127.0.0.1:{site.port}"
    assert written["apps"] == {"app": {"target": "app.py", "workers": 2}}
    again = site.command("init", "app.py")
    assert again.returncode == 1
    assert "There is a config.yaml already" in again.stderr
    site.settings["apps"]["app"]["workers"] = 2
    site.start()
    assert site.ask(cookie="sticky=app2").worker == "app2"


def test_every_key_of_a_new_settings_file_may_be_taken_out_of_its_comment(folder_of):
    site = folder_of()
    site.command("init", "app.py")
    keys = "|".join({key for place, _ in all_keys() for key in place.split(".")})
    text = re.sub(
        rf"^( *)# ( *(?:# .*|(?:{keys}):(?: .*)?))$", r"\1\2", site.config.read_text(), flags=re.MULTILINE
    )
    assert set(re.findall(r"^ *([a-z_]+):", text, re.MULTILINE)) >= set(keys.split("|")) - {"<name>"}
    site.config.write_text(text)
    given = load(site.config).model_dump()
    site.config.write_text("apps: {app: {target: app.py}}")
    assert given == load(site.config).model_dump()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["relaod"], "There is no command relaod. Did you mean reload?"),
        (["serve"], "There is no command serve. "),
        (["run", "folder"], "folder is neither an app (app.py, module:app) nor a settings file (.yaml)."),
        (["status", "app2"], "app2 is no settings file: those end in .yaml."),
        (["-w", "2", "config.yaml"], "--workers: say that in config.yaml"),
        (["gone.py"], "there is no file "),
        (["-w", "0", "app.py"], "--workers: expected greater than or equal to 1, got 0"),
        (["-p", "99999", "app.py"], "--host, --port: port 99999 is not between 1 and 65535"),
        (["--python", "/no/python", "app.py"], "--python: /no/python is no program"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(folder_of, words, says):
    site = folder_of()
    failed = site.command(*words)
    assert failed.returncode == 2
    assert says in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not site.run_dir.exists()
    if says.startswith("There is no command"):
        assert failed.stderr.splitlines()[-1] == f"See: python3 {LAUNCHER[1]} help", "the next command to type"


def test_the_help_of_each_command_has_examples_that_can_be_typed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["shiny-sticky"])
    for command in commands.commands:
        assert main(["help", command]) == 0
        shown = capsys.readouterr().out
        examples = re.findall(r"^  shiny-sticky ?(.*?)(?:  .*)?$", shown.partition("Examples:")[2], re.MULTILINE)
        assert examples, command
        for words in examples:
            assert command == "run" or words.split()[0] == command
            parsed(words.partition(" | ")[0])
    assert main(["help"]) == 0
    assert "shiny-sticky app.py " in capsys.readouterr().out


def parsed(words: str) -> None:
    """Read a command line; raises click.UsageError if it is none."""
    with commands.make_context("shiny-sticky", words.split()) as ctx:
        _, command, rest = commands.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        command.make_context(command.name, rest, parent=ctx)


def test_where_there_is_nothing_to_serve_that_is_said(folder_of):
    failed = folder_of(name="other.py").command()
    assert failed.returncode == 1
    assert "There is neither config.yaml nor app.py in /" in failed.stderr


def test_hints_name_the_program_as_it_was_called(folder_of):
    site = folder_of()
    assert f"Start one: python3 {LAUNCHER[1]} " in site.command("status").stderr
    assert (
        "Start one: python3 -m shiny_sticky "
        in site.command("status", program=[sys.executable, "-m", "shiny_sticky"]).stderr
    )


def test_the_launcher_finds_its_own_environment(tmp_path):
    """Called with a Python that has nothing of what is needed."""
    for name in ("launcher.py", "shiny_sticky", "conf", "njs"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "launcher.py", tmp_path / "copy.py")
    (tmp_path / "launcher.py").unlink()
    (tmp_path / "copy.py").rename(tmp_path / "launcher.py")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False)
    shown = subprocess.run(
        [bare / "bin" / "python", "launcher.py", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert shown.stdout.startswith("shiny-sticky "), shown.stderr


# --- check


def test_check_imports_the_app_and_names_what_is_missing(site_of):
    site = site_of({"lab": {"target": "app.py", "workers": 2, "preload": False}})
    (site.folder / "app.py").write_text("import numpie")
    failed = site.command("check", "config.yaml")
    assert failed.returncode == 1
    assert f"App lab: {site.folder}/app.py cannot be imported: {sys.executable} has no numpie." in failed.stderr
    assert "--python" in failed.stderr
    assert site.processes() == []
    assert not site.run_dir.exists()


def test_check_looks_at_the_ports_but_not_at_those_of_its_own_site(site_of):
    site = site_of({"app": {"target": str(APPS / "echo.py"), "workers": 1}}).start()
    assert site.command("check", "config.yaml").stdout.endswith("config.yaml: good\n")
    other = site_of({"app": {"target": str(APPS / "echo.py"), "workers": 1}}, listen=site.settings["listen"])
    failed = other.command("check", "config.yaml")
    assert failed.returncode == 1
    assert f"127.0.0.1:{site.port} is in use by nginx" in failed.stderr


def test_the_server_function_of_a_shiny_app_is_no_app(site_of):
    site = site_of({"app": {"target": "app.py:server", "workers": 1}})
    (site.folder / "app.py").write_text("def server(input, output, session): pass\n")
    failed = site.command("check", "config.yaml")
    assert "is no ASGI app, but Shiny's server function; name the App object" in failed.stderr


def test_completion_is_offered_for_the_usual_shells():
    for shell in ("bash", "zsh", "fish"):
        program = [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'shiny-sticky'; from shiny_sticky.cli import main; main()",
        ]
        shown = subprocess.run(
            program, env={**os.environ, "_SHINY_STICKY_COMPLETE": f"{shell}_source"}, capture_output=True, text=True
        )
        assert "shiny-sticky" in shown.stdout, shown.stderr
