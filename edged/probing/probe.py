"""A destination's probe: is it reached, does its clock agree with ours, and does it take what it is to get."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from edged import clock
from edged.config.config import Destination
from edged.errors import NoAnswer
from edged.outcome import Delivered, Outcome, Transient
from edged.platforms import Item, Platform, Wire
from edged.probing import Finding, address, asking, secrets, skew
from edged.probing.address import Address
from edged.probing.network import Trust
from edged.probing.preview import masked, preview
from edged.probing.trials import Sample, items_for
from edged.probing.way import Steps, way
from edged.reading import Entry

LONGEST_S = 10.0  # of a step, however patient the daemon is

_LOGIN = Item(Entry(0, "", 0, 0), None)  # gets a verdict as a reading does


class Probe:
    """What is asked about one destination.  Nothing is stored, here or there."""

    def __init__(self, destination: Destination, series: dict[str, Sample], *, aside: bool) -> None:
        """`series`: what there is to send; `aside`: a daemon may be connected under the destination's client id."""
        self._destination = destination
        self._series = series
        self._options = _apart(destination.options, aside=aside)
        common = destination.common
        self._wire = Wire(min(destination.timeout, LONGEST_S), common.ca_file, common.proxy or "")
        self._url = str(getattr(destination.options, "url", ""))  # empty: it is not reached by HTTP
        self._date_ms: int | None = None  # the server's clock, where it tells

    def findings(self) -> Iterator[Finding]:
        """What each step found, in their order."""
        yield from self._secrets()
        reached = yield from self._way()
        if reached:
            reached = yield from self._answer()
        time_ms = clock.now_ms() if self._date_ms is None else self._date_ms
        items = items_for(self._destination, self._series, time_ms - 1000)  # in nobody's future
        request = self._request(items)
        if not secrets.readable(self._options):
            why = "not all secrets can be read"
        elif not reached:
            why = "it cannot be reached"
        elif not items and request != ():
            why = "no series goes there"
        else:
            why = "the platform has no way to check them without storing something" if request is None else ""
        yield from self._credentials(items, request, why)
        if items and not request:
            sent = preview(self._destination.platform, self._destination.options, items)
            yield Finding("request", None, f"identifiers are not checked; it would send\n{sent}")

    def _secrets(self) -> Iterator[Finding]:
        found = secrets.of(self._destination)
        troubles = [trouble for secret in found if (trouble := secrets.trouble(secret, self._destination.name))]
        for trouble in troubles:
            yield Finding("secrets", False, trouble)
        if not troubles:
            sources = ", ".join(dict.fromkeys(secret.source for secret in found))
            yield Finding("secrets", True, f"readable: {sources}" if found else "none are needed")

    def _way(self) -> Steps:
        if (there := address.of(self._harmless(), self._wire)) is None:
            yield Finding("dns", None, "not checked, since its platform does not say where it connects to")
            return True
        proxy = Address.of_url(self._wire.proxy) if self._wire.proxy and self._url else None
        if self._wire.proxy and not proxy:
            yield Finding("proxy", None, "not used, since only HTTP goes through it")
        own = (getattr(self._options, key, None) for key in ("cert_file", "key_file"))
        return (yield from way(there, proxy, Trust(self._wire.ca_file, *own), self._wire.timeout_s))

    def _answer(self) -> Steps:
        """A request that does no harm, whose answer tells the server's time as well."""
        if not self._url:
            yield Finding("clock", None, "not compared, since only HTTP tells the time")
            return True
        from edged.transports.http import Request  # with `requests`, which other transports do without

        root = address.root(self._url)
        sent_ms = clock.now_ms()
        try:
            with contextlib.closing(self._harmless().connect(self._wire)) as transport:
                reply = transport.exchange(Request(root, b"", {}, "GET"))
        except NoAnswer as error:
            yield Finding("http", False, f"{root}: {error}")
            return False
        received_ms = clock.now_ms()
        ok, message = asking.answered(reply.status)
        yield Finding("http", ok, f"{root}: {message}")
        self._date_ms = reply.date_ms
        if self._date_ms is None:
            yield Finding("clock", None, "not compared, since the answer has no date")
        else:
            yield Finding("clock", *skew.told(skew.ahead_ms(self._date_ms, sent_ms, received_ms)))
        return ok

    def _request(self, items: Sequence[Item]) -> Any:
        """What the platform would be asked, without secrets: None: it cannot be; (): only by logging in."""
        if self._url and not items:
            return None
        return self._harmless().probe([item._replace(target=masked(item.target)) for item in items])

    def _credentials(self, items: Sequence[Item], request: Any, why: str) -> Iterator[Finding]:
        """`why` the platform is not asked, if it is not: what is known without it is told all the same."""
        platform = self._destination.platform(self._options)
        usable = [item for item in items if secrets.readable((self._options, item.target))]
        found: dict[str, Outcome] = {}
        for item in usable:
            if (outcome := platform.refuses(item)) is not None:
                found[item.entry.series] = outcome
        refused = [item for item in usable if item.entry.series in found]
        if why or request == ():
            usable = refused
        elif asked := [item for item in usable if item not in refused]:
            with contextlib.closing(platform.connect(self._wire)) as transport:
                asking.ask(platform, transport.exchange, asked, found)
        yield from asking.told(usable, found, self._is_typical)
        if why:
            yield Finding(asking.STEP, None, f"not checked, since {why}")
        elif request == ():
            yield self._login(platform)

    def _login(self, platform: Platform) -> Finding:
        """Whether the broker takes the credentials."""
        outcome: Outcome = Delivered()
        try:
            with contextlib.closing(platform.connect(self._wire)) as transport:
                outcome = next(iter(platform.judge(transport.exchange(()), [_LOGIN])), outcome)
        except NoAnswer as error:
            outcome = Transient(str(error))
        own, used = (getattr(options, "client_id", "") for options in (self._destination.options, self._options))
        if isinstance(outcome, Delivered):
            return Finding(asking.STEP, True, f"logged in as client {used}")
        said = str(getattr(outcome, "reason", outcome))
        if own != used:
            said += f"; this was client {used}, since a daemon may be connected as {own}: stop it to probe as that"
        return Finding(asking.STEP, False, said)

    def _harmless(self) -> Platform:
        """The platform without its secrets, which need not be readable then."""
        return self._destination.platform(masked(self._options))

    def _is_typical(self, item: Item) -> bool:
        """Whether the item's value has the type that the platform will get."""
        return getattr(item.target, "type", None) is not None or self._series[item.entry.series].typical


def _apart(options: Any, *, aside: bool) -> Any:
    """The options of a connection that nobody else notices: without a will, and with `aside` as another client."""
    changes: dict[str, Any] = {"will": None} if hasattr(options, "will") else {}
    if aside and hasattr(options, "client_id"):
        changes["client_id"] = f"{options.client_id}-probe"
    return replace(options, **changes)
