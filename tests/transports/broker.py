"""A real Mosquitto with TLS on a free port of this machine, and a subscriber that keeps what it forwards."""

import contextlib
import getpass
import json
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edged.transports.tls import context
from tests.transports.certificates import Certificate

PATIENCE_S = 15.0


@dataclass(frozen=True)
class Received:
    """A message as the broker forwarded it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Broker:
    """Where to connect and as whom; `start`, `stop` and `restart` it at will, what is accepted is kept."""

    host = "127.0.0.1"
    username = "bbdata"
    password = "made-up-password"

    def __init__(
        self,
        folder: Path,
        ca_file: Path,
        certificate: Certificate | None,
        settings: str = "",
        client: Certificate | None = None,
    ) -> None:
        """Without a certificate there is no TLS; with one of a `client` every client needs one.

        `settings` are further lines for the broker's own config.
        """
        self.ca_file = ca_file
        self.port = free_port()
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._received: list[Received] = []
        self._process: subprocess.Popen[bytes] | None = None
        passwords = folder / "passwords"
        lines = [f"{self.username}:{self.password}", f"collector:{self.password}"]
        passwords.write_text("\n".join(lines) + "\n")
        passwords.chmod(0o600)
        subprocess.run([_program("mosquitto_passwd"), "-U", str(passwords)], check=True, timeout=30)
        tls = f"certfile {certificate.certificate}\nkeyfile {certificate.key}\n" if certificate else ""
        if client:
            tls += f"cafile {ca_file}\nrequire_certificate true\n"
        self._config.write_text(
            f"listener {self.port} {self.host}\n{tls}"
            f"allow_anonymous false\npassword_file {passwords}\n"
            f"persistence true\npersistence_location {folder}/\n"
            f"user {getpass.getuser()}\nlog_dest file {self._log}\nlog_type all\nmax_queued_messages 0\n{settings}"
        )
        collector = self._collector = Client(CallbackAPIVersion.VERSION2, "collector", clean_session=False)
        collector.username_pw_set("collector", self.password)
        shown = (client.certificate, client.key) if client else ()
        self._tls = context(ca_file, *shown) if certificate else None
        if self._tls:
            collector.tls_set_context(self._tls)
        collector.on_message = self._on_message
        collector.on_connect = self._on_connect
        self._subscribed = False
        collector.on_subscribe = self._on_subscribe

    # --- what arrived

    def messages(self) -> list[Received]:
        """All messages so far, in order; one that was sent twice is there twice."""
        return list(self._received)

    def measures(self) -> list[dict[str, Any]]:
        """The BBData measures so far, with `time_ms` beside their timestamp."""
        measures = []
        for message in self.messages():
            measure = json.loads(message.payload)
            moment = datetime.fromisoformat(measure["timestamp"]).replace(tzinfo=UTC)
            measures.append(measure | {"time_ms": round(moment.timestamp() * 1000)})
        return measures

    def wait_for(self, count: int) -> list[Received]:
        """The messages, once there are `count` of them."""
        wait_until(lambda: len(self._received) >= count, f"{count} messages, got {len(self._received)}")
        return self.messages()

    def retained(self) -> dict[str, bytes]:
        """What it would tell a newcomer: topic -> payload."""
        kept: dict[str, bytes] = {}
        there = threading.Event()
        newcomer = Client(CallbackAPIVersion.VERSION2, "newcomer")
        newcomer.username_pw_set("collector", self.password)
        if self._tls:
            newcomer.tls_set_context(self._tls)
        newcomer.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        newcomer.on_message = lambda client, userdata, message: kept.update({message.topic: bytes(message.payload)})
        # Retained messages come before what is published from then on.
        newcomer.on_subscribe = lambda client, *_: client.publish("newcomer/mark", b"")
        newcomer.message_callback_add("newcomer/mark", lambda *_: there.set())
        newcomer.connect(self.host, self.port)
        newcomer.loop_start()
        try:
            assert there.wait(PATIENCE_S), "the broker says nothing to a newcomer"
        finally:
            newcomer.disconnect()
            newcomer.loop_stop()
        return kept

    def log(self) -> str:
        """The broker's own log."""
        return self._log.read_text() if self._log.exists() else ""

    # --- life

    def start(self) -> None:
        """Starts it, on the same port, and waits until it answers."""
        self._process = subprocess.Popen([_program("mosquitto"), "-c", str(self._config)])
        wait_until(self._answers, "the broker to answer")
        if not self._subscribed:
            self._collector.connect(self.host, self.port)
            self._collector.loop_start()
            wait_until(lambda: self._subscribed, "the subscription")

    def stop(self) -> None:
        """Ends it; what it has accepted is on its disk."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=PATIENCE_S)
            self._process = None

    def restart(self) -> None:
        """Ends it and starts it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Ends it and the subscriber."""
        self._collector.disconnect()
        self._collector.loop_stop()
        self.stop()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except ConnectionRefusedError:
            return False
        return True

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe("#", qos=2)

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed = True

    def _on_message(self, client: Client, userdata: Any, message: Any) -> None:
        if not message.topic.startswith("newcomer/"):
            self._received.append(Received(message.topic, message.payload, message.qos, message.retain))


def free_port() -> int:
    """A port that nobody listens on."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def wait_until(condition: Any, what: str) -> None:
    """Waits for what another process does; fails when it takes far too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    assert found, f"{name} is missing: sh tests/tools.sh installs it"
    return found
