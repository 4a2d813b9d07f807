"""Any MQTT broker: topics and payloads from templates, and Home Assistant's discovery.

Source: MQTT 3.1.1 (OASIS, 2014).

`true` sends a series to the destination's topic, filled in with its names; a string is a topic of its own.  A name
that MQTT cannot carry is written as in a URL: `HM-1500 #1` becomes `HM-1500 %231`, `a/b` becomes `a%2Fb`.  In a
payload that is JSON what is filled in stays JSON: `{"value": {value}, "unit": "{unit}"}`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edged.options import ReadingTemplate, Template, option
from edged.outcome import Outcome, Parked, Permanent
from edged.platforms import Item, Limits, Wire
from edged.platforms._homeassistant import Node, description
from edged.platforms._mqtt import LOSSY, MqttPlatform
from edged.platforms._payload import Payload
from edged.platforms._template import fill
from edged.platforms._topic import host_problem, is_loopback, level, text_problem, topic_problem
from edged.reading import Entry
from edged.secret import Secret
from edged.transports.broker import Broker, Message, Presence

_PORT, _TLS_PORT = 1883, 8883  # as registered


@dataclass(frozen=True)
class Will:
    topic: Template = option("edged/{name}/status", help="where it says whether this daemon is there")
    online: str = option("online", help="published after connecting, retained")
    offline: str = option("offline", help="published at a clean end, and by the broker when it is lost; retained")


@dataclass(frozen=True)
class Options:
    host: str = option(help="the broker")
    port: int | None = option(None, help="its port; 8883 with TLS, 1883 without", minimum=1, maximum=65535)
    tls: bool = option(True, help="false: a plain connection, where all may read along")
    cert_file: Path | None = option(None, help="this client's certificate, if the broker wants one")
    key_file: Path | None = option(None, help="its key, where that is not in cert_file")
    client_id: Template = option("edged_{serial}", help="no other client of the broker has it")
    username: str = option("", help="user name, if the broker wants one")
    password: Secret | None = option(None, help="password, if the broker wants one")
    topic: ReadingTemplate = option("edged/{name}/{sensor}/{quantity}", help="where a reading is published")
    payload: ReadingTemplate = option("{value}", help="what is published; also {sensor}, {quantity}, {unit}, {time}")
    qos: Literal[0, 1, 2] = option(1, help="0: not confirmed, so what is lost on the way is lost")
    max_inflight: int = option(10, help="messages on their way at once", minimum=1, maximum=1000)
    retain: bool = option(False, help="the broker keeps the last message of each topic for those who come later")
    will: Will | None = option(None, help="tells others whether this daemon is there")
    discovery: Literal["homeassistant"] | None = option(None, help="each series shows up there by itself")
    device: Template = option("{name}", help="this board's name there")

    @property
    def own_port(self) -> int:
        """The port that is connected to."""
        return self.port or (_TLS_PORT if self.tls else _PORT)

    @property
    def identity(self) -> tuple[str, int, str]:
        """What no two clients may share: host, port and client id."""
        return self.host.lower(), self.own_port, self.client_id


@dataclass(frozen=True)
class Topic:
    topic: Template = option(help="where its readings are published, instead of the destination's topic")
    series: str = ""  # where it goes to the destination's topic


class Place(NamedTuple):
    """What tells the readings of a series from those of others; the payload, where it does that too."""

    topic: str
    payload: str = ""


class Mqtt(MqttPlatform):
    """Any MQTT broker; a message a reading, and Home Assistant's discovery."""

    Options = Options
    Series = Topic
    short = "topic"
    example = """\
host = "mqtt.example.org"
username = "pi"
password = { credential = "mqtt" }
discovery = "homeassistant"
will = { topic = "edged/{name}/status" }
series = { "*" = true }
"""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._payload = Payload(options.payload)
        will = options.will
        self._presence = will and Presence(will.topic, will.online, will.offline, options.qos)
        self._node = Node(options.client_id, options.device, self._presence)
        self._described: dict[tuple[str, type, str], Message] = {}  # by series, kind and unit

    @property
    def limits(self) -> Limits:
        """A window of messages."""
        return Limits(self.options.max_inflight)

    def broker(self, wire: Wire) -> Broker:
        """Where to connect, and as whom."""
        options = self.options
        return Broker(
            options.host,
            options.own_port,
            options.client_id,
            options.username,
            options.password.reveal() if options.password else "",
            options.max_inflight,
            wire.ca_file,
            options.cert_file,
            options.key_file,
            options.tls,
            self._presence,
        )

    def encode(self, items: Sequence[Item]) -> tuple[Message, ...]:
        """A message an item; with discovery, in front of them what describes their series, once a connection."""
        options = self.options
        readings = [Message(self._topic(item), self._payload.fill(item), options.qos, options.retain) for item in items]
        described = [self._description(item) for item in items] if options.discovery else []
        return (*dict.fromkeys(described), *readings)

    def _topic(self, item: Item) -> str:
        return item.target.topic or fill(self.options.topic, item, level)

    def _description(self, item: Item) -> Message:
        key = item.entry.series, type(item.entry.value), item.unit
        if key not in self._described:
            place = self._payload.place(item) or ()
            topic, payload = description(self._node, item, self._topic(item), place)
            self._described[key] = Message(topic, payload, self.options.qos, retain=True, once=True)
        return self._described[key]

    def refuses(self, item: Item) -> Outcome | None:
        """A topic that only the reading's value makes impossible, or its names, which all of its series have."""
        if not (problem := topic_problem(self._topic(item))):
            return None
        harmless = item._replace(entry=item.entry._replace(value=0))
        return Parked(problem, whole=False) if topic_problem(self._topic(harmless)) else Permanent(problem)

    @classmethod
    def usual(cls, series: str) -> str:
        """The series itself, which fills the destination's topic."""
        return series

    @classmethod
    def usual_target(cls, series: str) -> Topic:
        """The destination's topic."""
        return Topic(topic="", series=series)

    @classmethod
    def place(cls, options: Any, target: Any) -> object:
        """The topic; two series may share one where the payload tells them apart, and nobody keeps only the last."""
        specimen = _specimen(target)
        topic = target.topic or fill(options.topic, specimen, level)
        return Place(topic, "" if options.retain or options.discovery else fill(options.payload, specimen))

    @classmethod
    def caution_series(cls, series: str) -> Sequence[str]:
        """Names that topics hold in another form."""
        sensor, _, quantity = series.rpartition(".")
        return [f"in topics {name!r} is written {level(name)!r}" for name in (sensor, quantity) if level(name) != name]

    @classmethod
    def check(cls, options: Any) -> Sequence[tuple[str, str]]:
        """MQTT's rules, what belongs together, and what discovery needs."""
        will = options.will
        problems = [
            ("host", host_problem(options.host)),
            ("client_id", "" if options.client_id else "it is empty; without one there is no identity"),
            ("client_id", text_problem(options.client_id)),
            ("username", text_problem(options.username)),
            ("topic", _template_problem(options.topic)),
            ("cert_file", "without TLS there is nobody to show it to" if options.cert_file and not options.tls else ""),
            ("key_file", "a key alone is nothing; cert_file too" if options.key_file and not options.cert_file else ""),
            ("password", "MQTT has none without a username" if options.password and not options.username else ""),
            ("will", _template_problem(will.topic) or text_problem(will.offline) if will else ""),
        ]
        if options.discovery:
            varies = "{value}" in options.topic or "{time}" in options.topic
            problems += [
                ("topic", "discovery wants one topic a series: without {value} and {time}" if varies else ""),
                ("payload", "" if _has_place(options.payload) else "discovery wants {value}, or JSON that holds it"),
            ]
        return [(key, problem) for key, problem in problems if problem]

    @classmethod
    def check_target(cls, target: Any) -> Sequence[tuple[str, str]]:
        """MQTT's rules for its topic."""
        return [("topic", problem)] if (problem := _template_problem(target.topic)) else ()

    @classmethod
    def caution(cls, options: Any) -> Sequence[tuple[str, str]]:
        """What may lose readings, or secrets, or say nothing to anybody."""
        cautions = []
        if options.qos == 0:
            cautions.append(("qos", LOSSY))
        if not options.tls and options.username and not is_loopback(options.host):
            cautions.append(("tls", "without TLS all may read what is sent there, user name and password too"))
        if not options.discovery:  # which makes errors of these
            if "{value}" not in options.payload + options.topic:
                cautions.append(("payload", "without {value} no reading's value is sent"))
            if Payload(options.payload).is_broken:
                cautions.append(("payload", "it makes no JSON, so it is sent as plain text"))
        if (will := options.will) and not (will.online and will.offline):
            cautions.append(("will", "who comes later hears nothing of an empty message: it is not retained"))
        elif will and will.online == will.offline:
            cautions.append(("will", "online and offline are the same, so they tell nothing"))
        return cautions


def _template_problem(topic: str) -> str:
    """What is wrong with a topic of the config, which may hold the daemon's name."""
    problem = topic_problem(topic)
    return f"{problem}; {{name}} in it is daemon.name" if problem and topic else problem


def _specimen(target: Any) -> Item:
    """What all readings of a series have in common."""
    return Item(Entry(0, target.series, 0, 0.0), target)


def _has_place(payload: str) -> bool:
    return Payload(payload).place(_specimen(Topic(topic="", series="sensor.quantity"))) is not None
