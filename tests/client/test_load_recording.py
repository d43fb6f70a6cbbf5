"""Recordings: shinyloadtest's format is read and written, and what is no recording is named."""

import json
import re

import pytest

from shiny_sticky.client.load import messages, recording
from shiny_sticky.client.load.recording import Kind
from shiny_sticky.client.load.script import script_of
from shiny_sticky.errors import StickyError
from support.recorded import Recorded

# As shinyloadtest words its lines; what is in them is made up. The first is of a plain server, the second of one
# that speaks SockJS, as Shiny Server and Connect do.
PLAIN = r"""# version: 1
# target_url: http://127.0.0.1:7000
# target_type: R/Shiny
{"type":"REQ_HOME","begin":"2026-01-02T03:04:05.100Z","end":"2026-01-02T03:04:05.250Z","status":200,"url":"/"}
{"type":"REQ_GET","begin":"2026-01-02T03:04:05.300Z","end":"2026-01-02T03:04:05.310Z","status":304,"url":"/shared/a.js"}
{"type":"WS_OPEN","begin":"2026-01-02T03:04:05.500Z","url":"/websocket/"}
{"type":"WS_RECV_INIT","begin":"2026-01-02T03:04:05.510Z","message":"{\"config\":{\"workerId\":\"\",\"sessionId\":\"${SESSION}\",\"user\":null}}"}
{"type":"WS_SEND","begin":"2026-01-02T03:04:05.520Z","message":"{\"method\":\"init\",\"data\":{\"n:shiny.number\":5}}"}
{"type":"WS_RECV","begin":"2026-01-02T03:04:05.600Z","message":"{\"errors\":[],\"values\":{\"größe\":\"5\"},\"inputMessages\":[]}"}
{"type":"WS_SEND","begin":"2026-01-02T03:04:09.600Z","message":"{\"method\":\"uploadInit\",\"args\":[[{\"name\":\"a.csv\",\"size\":3}]],\"tag\":0}"}
{"type":"WS_RECV_BEGIN_UPLOAD","begin":"2026-01-02T03:04:09.700Z","message":"{\"response\":{\"tag\":0,\"value\":{\"jobId\":\"${UPLOAD_JOB_ID}\",\"uploadUrl\":\"session/${SESSION}/upload/${UPLOAD_JOB_ID}?w=\"}}}"}
{"type":"REQ_POST","begin":"2026-01-02T03:04:09.710Z","end":"2026-01-02T03:04:09.800Z","status":200,"url":"/session/${SESSION}/upload/${UPLOAD_JOB_ID}?w=","datafile":"visit.log.post.0"}
{"type":"WS_CLOSE","begin":"2026-01-02T03:04:20.000Z"}
"""
SOCKJS = r"""# version: 1
# target_url: https://example.com/content/7/
# target_type: RStudio Server Connect
# rscApiKeyRequired: true
{"type":"REQ_HOME","begin":"2026-01-02T03:04:05.100Z","end":"2026-01-02T03:04:05.250Z","status":200,"url":"/"}
{"type":"REQ_TOK","begin":"2026-01-02T03:04:05.300Z","end":"2026-01-02T03:04:05.310Z","status":200,"url":"/_w_${WORKER}/__token__?_=1"}
{"type":"REQ_SINF","begin":"2026-01-02T03:04:05.320Z","end":"2026-01-02T03:04:05.330Z","status":200,"url":"/__sockjs__/n=${ROBUST_ID}/t=${TOKEN}/w=${WORKER}/s=0/info"}
{"type":"WS_OPEN","begin":"2026-01-02T03:04:05.500Z","url":"/__sockjs__/n=${ROBUST_ID}/t=${TOKEN}/w=${WORKER}/s=0/${SOCKJSID}/websocket"}
{"type":"WS_RECV","begin":"2026-01-02T03:04:05.510Z","message":"o"}
{"type":"WS_SEND","begin":"2026-01-02T03:04:05.520Z","message":"[\"0#0|o|\"]"}
{"type":"WS_SEND","begin":"2026-01-02T03:04:05.530Z","message":"[\"1#0|m|{\\\"method\\\":\\\"init\\\",\\\"data\\\":{\\\"n\\\":5}}\"]"}
{"type":"WS_RECV_INIT","begin":"2026-01-02T03:04:05.600Z","message":"a[\"1#0|m|{\\\"config\\\":{\\\"sessionId\\\":\\\"${SESSION}\\\"}}\"]"}
{"type":"WS_RECV","begin":"2026-01-02T03:04:05.700Z","message":"a[\"2#0|m|{\\\"errors\\\":{},\\\"values\\\":{\\\"plot\\\":1},\\\"inputMessages\\\":[]}\"]"}
{"type":"WS_CLOSE","begin":"2026-01-02T03:04:20.000Z"}
"""


@pytest.fixture
def file_of(tmp_path):
    def make(text: str):
        file = tmp_path / "visit.log"
        file.write_text(text)
        return file

    return make


@pytest.mark.parametrize("text", [PLAIN, SOCKJS], ids=["plain", "sockjs"])
def test_a_recording_of_shinyloadtest_is_read_and_written_without_a_difference(file_of, text):
    read = recording.read(file_of(text))
    lines = text.splitlines()
    assert [event.as_line() for event in read.events] == [line for line in lines if not line.startswith("#")]
    assert all(lines[event.line - 1] == event.as_line() for event in read.events)
    assert read.about["target_type"] == re.search("# target_type: (.*)", text)[1]


def test_what_is_waited_for_is_told_by_what_it_brings(file_of):
    actions = script_of(recording.read(file_of(PLAIN))).actions
    assert [(action.label, sorted(action.expects)) for action in actions] == [
        ("page", []),
        ("files of the page (1)", []),
        ("session begins", ["config"]),
        ("init → größe", ["output größe"]),
        ("uploadInit → response 0", ["response 0"]),
        ("upload", []),
        ("WS_CLOSE", []),
    ]
    by_sockjs = script_of(recording.read(file_of(SOCKJS))).actions
    assert [sorted(action.expects) for action in by_sockjs if action.expects] == [
        ["the connection"],
        ["config", "output plot"],
    ]


def test_thinking_counts_from_when_the_recorded_visitor_had_the_answer(file_of):
    pauses = {action.label: round(action.pause, 3) for action in script_of(recording.read(file_of(PLAIN))).actions}
    assert pauses["uploadInit → response 0"] == 4.0
    assert pauses["upload"] == 0.01
    assert pauses["WS_CLOSE"] == 10.2
    assert pauses["page"] == pauses["session begins"] == 0, "a page loads as fast as it can"


def test_what_comes_again_and_again_by_itself_is_not_waited_for(tmp_path):
    made = Recorded(tmp_path / "visit.jsonl").session().says(method="init", data={"n": 1}).hears("a")
    for _ in range(5):
        made.pause(1).hears("clock")
    made.pause(0.5).sets("n").pause(0.1).hears("a")
    *_, first, second, _ = script_of(recording.read(made.closed())).actions
    assert first.expects == second.expects == {"output a"}
    assert round(second.pause, 3) == 5.5, "the visitor thought, whatever the clock said"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello\n", "visit.log:1: this is no event of a recording: "),
        (PLAIN.replace("version: 1", "version: 2"), "is a recording of version 2; this program reads version 1"),
        (PLAIN.replace('"status":304,', ""), "visit.log:5: the event has no 'status'"),
        (
            PLAIN.replace("REQ_GET", "REQ_PUT"),
            "visit.log:5: this is no event of a recording: 'REQ_PUT' is not a valid",
        ),
        (PLAIN.partition('{"type":"WS_OPEN"')[0], "has no Shiny session in it"),
    ],
    ids=["no event", "later version", "key missing", "unknown type", "no session"],
)
def test_what_is_no_recording_is_named(file_of, text, says):
    with pytest.raises(StickyError, match=re.escape(says)):
        recording.read(file_of(text))


@pytest.mark.parametrize(
    "head", ["# version: 0.2.0\n# target: http://a/\n", "# target: http://a/\n", ""], ids=["0.2", "older", "none"]
)
def test_recordings_of_before_version_1_are_read(file_of, head):
    text = head + "".join(line + "\n" for line in PLAIN.splitlines() if not line.startswith("#"))
    assert len(recording.read(file_of(text)).events) == 10


def test_a_body_that_is_missing_is_named(file_of):
    read = recording.read(file_of(PLAIN))
    (post,) = (event for event in read.events if event.kind is Kind.POST)
    with pytest.raises(StickyError, match=r"visit.log:12: what was uploaded is in .*visit.log.post.0"):
        read.body(post)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"busy": "busy"}),
        json.dumps({"recalculating": {"name": "a", "status": "recalculating"}}),
        json.dumps({"values": {}, "inputMessages": [], "errors": {}}),
        json.dumps({"values": [], "inputMessages": [], "errors": []}),
        json.dumps({"custom": {"reactlog": {}}}),
        "h",
        'a["ACK 3"]',
        'c[3000,"Go away!"]',
    ],
)
def test_what_answers_nothing_is_not_recorded(text):
    assert not messages.is_kept(text)
    assert not messages.brings(text)
