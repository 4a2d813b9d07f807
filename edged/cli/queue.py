"""`edged queue`: what each destination has not got yet, or has refused; to look at, to save, to try again, to drop."""

import argparse
import contextlib
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from edged.cli import DONE, WRONG_COMMAND, counted, fail, show, table
from edged.cli._readings import Write, write_csv, write_json, write_jsonl, write_table
from edged.cli._stored import OnProgress, answers
from edged.config.config import Config
from edged.config.reader import find, require

USAGE = """\
edged queue [DESTINATION] [--json]
       edged queue DESTINATION list [--limit N] [--dead] [--json]
       edged queue DESTINATION export [--format jsonl|csv] [--dead]
       edged queue DESTINATION retry
       edged queue DESTINATION drop [--series SERIES] [--before TIME] [--dead] --yes
       edged queue DESTINATION adopt NEW [--yes]"""
_TAKES = {
    "show": {"json"},
    "list": {"limit", "dead", "json"},
    "export": {"format", "dead"},
    "retry": set(),
    "drop": {"series", "before", "dead", "yes"},
    "adopt": {"new", "yes"},
}
_LONG_S = 0.5
_FEW = 5  # series that are named in a line
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def declare(parser: argparse.ArgumentParser) -> None:
    """Its arguments and options."""
    parser.usage = USAGE
    words = (
        parser.add_argument("destination", metavar="DESTINATION", help="whose queue; all by default"),
        parser.add_argument(
            "action",
            metavar="ACTION",
            choices=[name for name in _TAKES if name != "show"],
            help="list, export (to stdout), retry (dead letters go back into the queue), drop, adopt",
        ),
        parser.add_argument("new", metavar="NEW", help="with adopt: the destination that gets a removed one's queue"),
    )
    for word in words:
        word.required = False  # and not nargs="?", with which no option may stand between two of them
    parser.add_argument("--dead", action="store_true", default=None, help="dead letters: what was refused for good")
    parser.add_argument("--limit", type=_number, metavar="N", help="so many at most")
    parser.add_argument("--format", choices=["jsonl", "csv"], help="of an export; jsonl by default")
    parser.add_argument("--series", metavar="SERIES", help="only readings of this series; * for any characters")
    parser.add_argument("--before", type=_moment, metavar="TIME", help="only earlier ones; ISO 8601, UTC by default")
    parser.add_argument("--yes", action="store_true", default=None, help="do it, though readings go for good")
    parser.add_argument("--json", action="store_true", default=None, help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Does the action, through the running daemon or else on the store itself."""
    action = options.action or ("list" if options.dead or options.limit else "show")
    given = {name for names in _TAKES.values() for name in names if getattr(options, name) is not None}
    if surplus := sorted(given - _TAKES[action]):
        named = ", ".join(options.new if name == "new" else f"--{name}" for name in surplus)
        return _wrong(f"{named}: not {f'with {options.action}' if options.action else 'without an action'}")
    if action != "show" and options.destination is None:
        return _wrong("whose queue? name a destination; `edged queue` lists them")
    if action == "adopt" and options.new is None:
        return _wrong("adopt by whom? edged queue OLD adopt NEW")
    config, _ = require(find(options.config))
    if options.action is None and options.destination in _TAKES and options.destination not in config.destinations:
        return _wrong(f"whose queue? edged queue DESTINATION {options.destination}")
    request = {"destination": options.destination, "configured": list(config.destinations)}
    match action:
        case "show":
            return _show(config, options)
        case "list" | "export":
            return _print(config, options, request | {"dead": bool(options.dead), "limit": options.limit})
        case "retry":
            number = _result(config, request | {"do": "queue-retry"}, "queueing dead letters again")
            print(f"{counted(number, 'dead letter')} of {options.destination} {_are(number)} queued again")
        case "drop":
            which = {"dead": bool(options.dead), "series": options.series, "before_ms": options.before}
            return _drop(config, options, request | which)
        case "adopt":
            return _adopt(config, options, request)
    return DONE


def _wrong(message: str) -> int:
    fail(message)
    return WRONG_COMMAND


def _show(config: Config, options: argparse.Namespace) -> int:
    """A line a destination."""
    found = _result(config, {"do": "queues"}, "looking")
    zeros = {"queued": 0, "oldest": None} | dict.fromkeys(("delivered", "dead", "dropped", "merged", "lost"), 0)
    names = dict.fromkeys([*config.destinations, *found])
    queues = {name: {"state": _state(config, name)} | found.get(name, zeros) for name in names}
    if options.destination is not None:
        if options.destination not in queues:
            return fail(f"there is no destination {options.destination}; there are: {', '.join(queues) or 'none'}")
        queues = {options.destination: queues[options.destination]}
    if options.json:
        print(json.dumps(queues))
        return DONE
    result = table("destination", "state", "queued", "oldest", "dead", "dropped", "lost")
    for name, queue in queues.items():
        numbers = (str(queue[key]) for key in ("dead", "dropped", "lost"))
        result.add_row(name, queue["state"], str(queue["queued"]), queue["oldest"] or "", *numbers)
    show(result)
    return DONE


def _state(config: Config, name: str) -> str:
    if (destination := config.destinations.get(name)) is None:
        return "removed"
    return "enabled" if destination.common.enabled else "disabled"


def _print(config: Config, options: argparse.Namespace, request: dict[str, Any]) -> int:
    """Lists or exports readings; as they come, so that memory stays flat."""
    write: Write = write_json if options.json else write_table
    if exporting := options.action == "export":
        write = write_csv if options.format == "csv" else write_jsonl
    fields = ("series", "time", "value", *(("reason", "refused_at") if options.dead else ()))
    with (
        progress_bar("exporting", exporting and _into_file()) as on_progress,
        contextlib.closing(answers(config, request | {"do": "queue-list"}, on_progress)) as rows,
    ):
        write(rows, fields)
    return DONE


def _drop(config: Config, options: argparse.Namespace, request: dict[str, Any]) -> int:
    what = "dead letter" if options.dead else "queued reading"
    if not options.yes:
        number = _result(config, request | {"do": "queue-count"}, "counting")
        which = f"{counted(number, what)} of {options.destination}"
        return _wrong(f"this would drop {which}, for good; add --yes to do it")
    number = _result(config, request | {"do": "queue-drop"}, "dropping")
    print(f"{counted(number, what)} of {options.destination} dropped")
    return DONE


def _adopt(config: Config, options: argparse.Namespace, request: dict[str, Any]) -> int:
    old, new = options.destination, options.new
    if old in config.destinations:
        return fail(f"{old} is in the config; only the queue of a destination that left it can be adopted")
    if new not in config.destinations:
        return fail(f"there is no destination {new} in the config; there are: {', '.join(config.destinations)}")
    answer = _result(config, request | {"do": "queue-adopt", "new": new, "yes": bool(options.yes)}, "moving")
    if "untaken" not in answer:
        return fail(
            f"the running daemon is older than this command, and did not ask: {counted(answer['moved'], 'reading')} of"
            f" {old} {_are(answer['moved'])} queued for {new}, {answer['dropped']} dropped; restart it"
        )
    untaken = answer["untaken"]
    number = sum(untaken.values())
    if untaken and not options.yes:
        series = ", ".join([f"{name} ({of})" for name, of in islice(untaken.items(), _FEW)])
        more = f" and {len(untaken) - _FEW} more" if len(untaken) > _FEW else ""
        return _wrong(
            f"this would drop {counted(number, 'queued reading')} of {old}, for good: {new} does not take"
            f" {series}{more}; add the series to its mapping and reload, or add --yes to do it all the same"
        )
    print(f"{counted(answer['moved'], 'reading')} of {old} {_are(answer['moved'])} queued for {new}")
    if untaken:
        print(f"{number} {_are(number)} dropped: {new} does not take {'its' if number == 1 else 'their'} series")
    if had := answer["dropped"] - number:
        print(f"{had} {_are(had)} dropped: {new} has had {'it' if had == 1 else 'them'} itself")
    return DONE


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _result(config: Config, request: dict[str, Any], doing: str) -> Any:
    """The answer to a request that gives no items."""
    with progress_bar(doing, wanted=True) as on_progress:
        answer = answers(config, request, on_progress)
        while True:
            try:
                next(answer)
            except StopIteration as stop:
                return stop.value


@contextlib.contextmanager
def progress_bar(doing: str, wanted: bool) -> Iterator[OnProgress]:
    """A progress bar on a terminal's stderr, where the work takes longer; it goes when that is done."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    task = progress.add_task(doing, total=None)  # moves to and fro until a total is known
    late = threading.Timer(_LONG_S, progress.start)
    late.start()
    try:
        yield lambda done, total: progress.update(task, completed=done, total=total)
    finally:
        late.cancel()
        late.join()
        progress.stop()


def _into_file() -> bool:
    """Whether stdout is a file; where it is a pipe, another program has the terminal."""
    try:
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a number from 1 on is expected")
    return int(text)


def _moment(text: str) -> int:
    """Milliseconds since 1970 (rounded up) of a time or a date; UTC where no zone is named."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            'a time is expected: "2024-03-05T14:07:30Z", "2024-03-05 14:07" or "2024-03-05"'
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return -((_EPOCH - moment) // timedelta(milliseconds=1))
