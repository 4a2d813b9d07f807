"""BBData over MQTT with TLS.

Source: BBData documentation, "submit-measures" and "components".  The broker confirms receipt only; what it cannot
digest ends in an error queue over there, so what is published has to be right.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edged.options import Template, option
from edged.outcome import Outcome
from edged.platforms import Item, Limits, Wire
from edged.platforms._bbdata import Object, check_object, measure, refused
from edged.platforms._json import dumps
from edged.platforms._mqtt import LOSSY, MqttPlatform
from edged.platforms._topic import host_problem, text_problem, topic_problem
from edged.secret import Secret, public
from edged.transports.broker import Broker, Message

_CLIENT_ID = re.compile(r"bbdata_.+")  # what the broker lets in


@dataclass(frozen=True)
class Options:
    host: str = option("mqtt.daplab.ch", help="the broker")
    port: int = option(8883, help="its port; always TLS", minimum=1, maximum=65535)
    client_id: Template = option("bbdata_{serial}", help='begins with "bbdata_", and no other client has it')
    username: str = option("bbdata", help="user name")
    password: Secret = option(public("bbdata"), help="password; the platform's own by default")
    topic: Template = option("bbdata_topic", help="any topic; it has no influence over there")
    qos: Literal[0, 1, 2] = option(1, help="0: not confirmed, so what is lost on the way is lost")
    max_inflight: int = option(10, help="messages on their way at once", minimum=1, maximum=1000)

    @property
    def identity(self) -> tuple[str, int, str]:
        """What no two clients may share: host, port and client id."""
        return self.host.lower(), self.port, self.client_id


class BBDataMqtt(MqttPlatform):
    """BBData (Big Building Data) through its MQTT broker: a message a reading."""

    Options = Options
    Series = Object
    timeout_s = 60.0
    example = """\
host = "mqtt.example.org"
series = { "greenhouse.humidity" = { object = 4713, token = { credential = "bbdata-4713" } } }
"""

    @property
    def limits(self) -> Limits:
        """A window of messages."""
        return Limits(self.options.max_inflight)

    def broker(self, wire: Wire) -> Broker:
        """Where to connect, and as whom."""
        options = self.options
        return Broker(
            options.host,
            options.port,
            options.client_id,
            options.username,
            options.password.reveal(),
            options.max_inflight,
            wire.ca_file,
        )

    def encode(self, items: Sequence[Item]) -> tuple[Message, ...]:
        """One JSON object a message; unlike over HTTP, comment and owner have to be there."""
        options = self.options
        payloads = [measure(item) | {"comment": item.target.comment or "", "owner": None} for item in items]
        return tuple(Message(options.topic, dumps(payload), options.qos) for payload in payloads)

    def refuses(self, item: Item) -> Outcome | None:
        """What the platform would throw away without a word.  Raises SecretUnreadable."""
        return refused(item)

    @classmethod
    def place(cls, options: Any, target: Any) -> object:
        """The object."""
        return target.object

    @classmethod
    def check(cls, options: Any) -> Sequence[tuple[str, str]]:
        """A host's form, the broker's rules for client ids, and MQTT's for topics (3.1.1, section 4.7)."""
        is_good = _CLIENT_ID.fullmatch(options.client_id)
        problems = [
            ("host", host_problem(options.host)),
            ("client_id", "" if is_good else f'{options.client_id[:40]!r} does not begin with "bbdata_" and a name'),
            ("client_id", text_problem(options.client_id) if is_good else ""),
            ("username", text_problem(options.username)),
            ("topic", topic_problem(options.topic)),
        ]
        return [(key, problem) for key, problem in problems if problem]

    @classmethod
    def caution_target(cls, target: Any) -> Sequence[tuple[str, str]]:
        """The lengths of token and comment."""
        return check_object(target)

    @classmethod
    def caution(cls, options: Any) -> Sequence[tuple[str, str]]:
        """What may lose readings."""
        if options.qos == 0:
            return [("qos", LOSSY)]
        return ()
