"""`load report`: one page that says all, with nothing from outside; its figures and sentences are right."""

import dataclasses
import html.parser
import re
import time

import pytest

from shiny_sticky.cli import main
from shiny_sticky.client.load.charts import steps
from shiny_sticky.client.load.judging import Level, Seen, judged, quantile, shown
from shiny_sticky.client.load.machine import Look, WorkerLook
from shiny_sticky.client.load.notes import Fault, Reply
from shiny_sticky.client.load.results import Moment, ResultsWriter, Run
from shiny_sticky.client.load.verdict import verdict

RUN = Run("visit.jsonl", "http://127.0.0.1:8080/", 0.5, 1_700_000_000.0, 12.0, 2, 4, True)


def level(users: int = 10, **what) -> Level:
    seconds = what.pop("seconds", [0.1])
    replies = [Reply(0.0, each, "n → a") for each in seconds]
    seen = Seen(replies, [], [], 0, 1, [0.001], [], 0.4, 4)
    return dataclasses.replace(judged(users, 0.0, 10.0, dataclasses.replace(seen, **what), 0.5), users=users)


def look(busy: float, **cpu: float) -> Look:
    return Look(1.0, busy, [WorkerLook(name, 7, share) for name, share in cpu.items()])


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        (
            [level(180), level(225, seconds=[0.73], looks=[look(0.97, app1=0.9, app2=0.9)])],
            "With 2 workers this machine holds 180 users of this visit within 500 ms; the first limit is CPU, of "
            "which the workers had 45% and this client 1%; with 225 users p95 was 730 ms.",
        ),
        (
            [level(8), level(10, seconds=[0.73], looks=[look(0.4, app1=0.99)])],
            "With 1 worker this machine holds 8 users of this visit within 500 ms; the first limit is that app1 "
            "has one core, and more workers have more; with 10 users p95 was 730 ms.",
        ),
        ([level(500)], "This machine holds at least 500 users of this visit within 500 ms; no limit was reached."),
        (
            [level(10), level(20, seconds=[0.45], lags=[0.2])],
            "This machine holds at least 10 users of this visit within 500 ms; with 20 users the client itself was "
            "late by 200 ms, so let more processes (--processes) play.",
        ),
        (
            [level(1, faults=[Fault(1.0, "page", "status 503 in place of 200 for /")])],
            "This machine does not hold 1 user of this visit within 500 ms, as 1 of 2 answers failed; the first "
            "limit is what fails: page: status 503 in place of 200 for /.",
        ),
        ([], "It ended before anything could be told."),
    ],
    ids=["CPU", "a core", "none", "client", "faults", "nothing"],
)
def test_the_answer_is_a_sentence(levels, says):
    assert verdict(RUN, levels) == says


def test_the_limit_counts_who_still_waits():
    """An answer that never comes is no reason for a good p95."""
    assert not level(seconds=[0.1] * 19).broken
    assert level(seconds=[0.1] * 17, waiting=[0.4, 3.0, 3.0]).broken == "p95 was 3.00 s"
    assert level(seconds=[]).broken == "no answer came"


def test_the_client_s_own_lag_does_not_break_a_limit_and_is_no_excuse():
    assert level(seconds=[0.1], lags=[0.2]).unsure == "", "0.3 s are within the limit"
    assert level(seconds=[0.9], lags=[0.2]).unsure == "", "0.7 s are not"
    assert level(seconds=[0.6], lags=[0.2]).unsure == "the client itself was late by 200 ms"
    assert level(seconds=[0.505], lags=[0.04]).unsure == "", "not worth a word"


def test_a_quantile_is_one_of_the_values():
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.95), quantile(values, 0.99)) == (50, 95, 99)
    assert quantile([7.0], 0.95) == 7
    assert quantile([], 0.95) is None


def test_times_and_steps_are_those_that_people_write():
    assert [shown(each) for each in (None, 0.0012, 0.0123, 0.5, 1.234, 12.3)] == [
        "–",
        "1.2 ms",
        "12 ms",
        "500 ms",
        "1.23 s",
        "12 s",
    ]
    assert steps(730) == [0, 200, 400, 600, 800]
    assert steps(0.03) == [0, 0.01, 0.02, 0.03]
    assert steps(0) == [0, 1]


class Outside(html.parser.HTMLParser):
    """Gathers what a page would load, and the tags that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.asked_for: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.asked_for += [value for name, value in attrs if name in ("src", "href", "data", "xlink:href")]


def results_in(folder, answer: str):
    file = folder / "load.jsonl"
    zero = time.monotonic()
    with ResultsWriter(file, RUN, zero) as writer:
        for second in range(30):
            at = zero + second
            writer.write(Moment(at, second % 2, second, 0.002))
            writer.write(Reply(at, 0.1 + 0.02 * second, "<n> → a & b"))
            writer.write(Look(at, 0.5, [WorkerLook(f"app{number}", 3, 0.2) for number in range(1, 11)]))
        writer.write(Fault(zero + 3, "page", "status 503 <b>"))
        writer.write(dataclasses.replace(level(30), begin=zero + 10, end=zero + 30))
        writer.verdict(answer)
    return file


def test_the_report_is_one_page_with_nothing_from_outside(tmp_path, capsys):
    assert main(["load", "report", str(results_in(tmp_path, "It holds <30> users."))]) == 0
    assert "It holds <30> users." in capsys.readouterr().out
    text = (tmp_path / "load.html").read_text()
    page = Outside()
    page.feed(text)
    assert not page.asked_for
    assert not {"script", "link", "img", "iframe", "b"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://(?!127\.0\.0\.1)", text)
    assert page.tags.count("svg") == 6, "users, answers, events, workers twice, lag"
    assert "<h1>It holds &lt;30&gt; users.</h1>" in text
    assert "&lt;n&gt; → a &amp; b" in text
    assert "prefers-color-scheme: dark" in text
    assert "app10, CPU" in text


def test_what_is_no_results_is_named(tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text('{"type":"REQ_HOME"}\n')
    assert main(["load", "report", str(tmp_path / "x.jsonl")]) == 1
    assert "x.jsonl has no results: those are what `load play … -o FILE` writes" in capsys.readouterr().err
    assert main(["load", "report", str(tmp_path / "y.jsonl")]) == 1
    assert "y.jsonl cannot be read" in capsys.readouterr().err


def test_results_that_were_cut_off_are_shown_as_far_as_they_go(tmp_path, capsys):
    file = results_in(tmp_path, "")
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "verdict" not in line))
    assert main(["load", "report", str(file), "-o", str(tmp_path / "page.html")]) == 0
    assert "It was ended before there was an answer." in (tmp_path / "page.html").read_text()
