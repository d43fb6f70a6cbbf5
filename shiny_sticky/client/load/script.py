"""What a visitor does, made of a recording: actions, the time to think before each, and what is waited for."""

from __future__ import annotations

from dataclasses import dataclass, field

from shiny_sticky.client.load import messages
from shiny_sticky.client.load.recording import RECEIVED, Event, Kind, Recording

# Something that came this often more than the visitor had done anything came by itself, such as a clock.
BY_ITSELF = 2


@dataclass
class Action:
    """Something that the visitor, or the page, does.

    Attributes:
        events: what was recorded of it: one, or the requests for a page's files, which are asked for side by side.
        label: what it is called in reports.
        pause: seconds between the last that was waited for and this.
        expects: what comes before the next action begins; see :func:`messages.brings`.
    """

    events: list[Event]
    label: str
    pause: float
    expects: frozenset[str] = field(default_factory=frozenset)

    @property
    def kind(self) -> Kind:
        """What kind of events these are."""
        return self.events[0].kind


@dataclass(frozen=True)
class Script:
    """A visit to be played.

    Attributes:
        recording: what it was made of.
        actions: in their order; the last one closes the websocket.
        length: seconds that the recorded visit took.
        failing: outputs that fail in the recording, too.
    """

    recording: Recording
    actions: tuple[Action, ...]
    length: float
    failing: frozenset[str]


def script_of(recording: Recording) -> Script:
    """Make a script of a recording."""
    events = _first_session(recording.events)
    actions: list[Action] = []
    at = 0
    while at < len(events):
        done = _together(events, at)
        at += len(done)
        came = []
        while at < len(events) and events[at].kind in RECEIVED:
            came.append(events[at])
            at += 1
        actions.append(Action(done, "", 0.0))
        _wait_for(actions, came)
    _think(actions, events)
    has_session = False
    for action in actions:
        action.label = _label(action, has_session)
        has_session = has_session or action.kind is Kind.OPEN
    failing = frozenset(name for event in events for name in messages.errors(event.message))
    return Script(recording, tuple(actions), max(0.0, events[-1].begin - events[0].begin), failing)


def _first_session(events: tuple[Event, ...]) -> list[Event]:
    """The events of one session: up to its end, without what the page may have begun to load for another one."""
    opened = next(at for at, event in enumerate(events) if event.kind is Kind.OPEN)
    ends = (at for at, event in enumerate(events) if event.kind is Kind.CLOSE and at > opened)
    end = next(ends, len(events))
    kept = [event for at, event in enumerate(events[:end]) if at < opened or event.kind is not Kind.PAGE]
    last = events[end] if end < len(events) else Event(Kind.CLOSE, kept[-1].end, kept[-1].end)
    return [*kept, last]


def _together(events: list[Event], at: int) -> list[Event]:
    """What is done at once from an event on: a page's files, which come before its websocket, or the one event."""
    if events[at].kind is not Kind.GET:
        return [events[at]]
    end = at
    while events[end].kind is Kind.GET:
        end += 1
    before_session = any(event.kind is Kind.OPEN for event in events[end:])
    return events[at:end] if before_session else [events[at]]


def _wait_for(actions: list[Action], came: list[Event]) -> None:
    """Let the last action be followed by what came, but for that which comes again and again by itself."""
    times: dict[str, int] = {}
    for event in came:
        for mark in messages.brings(event.message):
            times[mark] = times.get(mark, 0) + 1
    sends = 1
    for action in reversed(actions[:-1]):
        if action.expects:
            break
        sends += 1
    actions[-1].expects = frozenset(mark for mark, number in times.items() if number < sends + BY_ITSELF)


def _think(actions: list[Action], events: list[Event]) -> None:
    """Give each action of an open session the time that its visitor took for it.

    That counts from when the recorded visitor had all that was waited for.
    """
    place = {id(event): at for at, event in enumerate(events)}
    had, opened = 0.0, False
    for action in actions:
        begin = min(event.begin for event in action.events)
        if opened:
            action.pause = max(0.0, begin - had)
        opened = opened or action.kind is Kind.OPEN
        had = _had_all(action, events[place[id(action.events[-1])] + 1 :])


def _had_all(action: Action, later: list[Event]) -> float:
    """When the recorded visitor had all that is waited for after an action.

    Args:
        action: that was done.
        later: the events after it.
    """
    had = max(event.end for event in action.events)
    missing = set(action.expects)
    for event in later:
        if not missing or event.kind not in RECEIVED:
            break
        if found := missing & messages.brings(event.message):
            had = max(had, event.begin)
            missing -= found
    return had


def _label(action: Action, has_session: bool) -> str:
    """What an action is called in reports."""
    event = action.events[0]
    match event.kind:
        case Kind.SEND:
            came = sorted(mark.removeprefix("output ") for mark in action.expects)
            return _short(messages.asked(event.message)) + (f" → {_short(', '.join(came))}" if came else "")
        case Kind.OPEN:
            return "session begins"
        case Kind.PAGE:
            return "page"
        case Kind.POST if "/upload/" in event.url or "UPLOAD" in event.url:
            return "upload"
        case Kind.GET if not has_session:
            return f"files of the page ({len(action.events)})"
        case Kind.GET | Kind.POST:
            return f"request {_name(event.url)}"
    return event.kind.value


def _name(url: str) -> str:
    """The end of an address, without what differs, such as a session's id."""
    parts = [part for part in url.partition("?")[0].split("/") if part and not part.startswith("${")]
    return "/".join(parts[-2:])


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
