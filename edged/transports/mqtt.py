"""MQTT 3.1.1 exchanges: a few messages published, each confirmed or not.  Knows no platform."""

import contextlib
import math
import time
from collections.abc import Sequence

from edged.errors import NoAnswer
from edged.transports.broker import Answer, Broker, Confirmed, Message, Presence, Refused, TakenOver
from edged.transports.session import Session

__all__ = ["Answer", "Broker", "Confirmed", "Message", "MqttTransport", "Presence", "Refused", "TakenOver"]

EARLY_S = 5.0  # a session that ends sooner after its CONNACK is a sign of another client with our id
_SIGNS = 2  # so many in a row, and the next session is the proof
_FAREWELL_S = 1.0
_TENDED_S = 60.0  # between two looks after a connection that rests


class MqttTransport:
    """One connection to one broker, kept between exchanges.

    Another client with our id: the broker lets the newcomer in and ends the older session (MQTT 3.1.1, section 3.1.4),
    its client connects again, and so on for ever.  Nothing tells us so.  What we see is a session that ends in good
    order soon after its CONNACK; but a broker ends in this way those whose messages it does not like as well, and they
    have to be sent again.  An experiment tells the two apart: after two such ends in a row the next session keeps
    silent at first.  If it is ended all the same, then not for what we send, and the answer is `TakenOver`; if it
    lives on, so do we.  A reset, or no connection at all, is the trouble of the network or of the broker: no sign.
    """

    def __init__(self, broker: Broker, timeout_s: float, early_s: float = EARLY_S) -> None:
        """`timeout_s` is for a whole exchange: from connecting, where that is needed, to the last confirmation."""
        self._broker = broker
        self._timeout_s = timeout_s
        self._early_s = early_s
        self._session: Session | None = None  # the last one, ended or not
        self._signs = 0  # sessions in a row that ended early
        self._stopped = False

    def exchange(self, messages: Sequence[Message]) -> Answer:
        """Publishes the messages in order and waits for their confirmations; of none, connects.  Raises NoAnswer."""
        self._stopped = False
        deadline = time.monotonic() + self._timeout_s
        kept = self._session is not None and self._session.trouble is None
        try:
            return self._exchange(messages, deadline)
        except NoAnswer as error:
            if not kept or error.timed_out or self._stopped:
                raise
        return self._exchange(messages, deadline)  # it had died before, unnoticed: no failure of this exchange

    def _exchange(self, messages: Sequence[Message], deadline: float) -> Answer:
        if self._session is None or self._session.trouble:
            session = self._next(deadline)
            if answer := self._log_in(session, deadline):
                return answer
        else:
            session = self._session
        presence = self._broker.presence
        before = [presence.greeting] if presence and messages else []
        confirmed = session.publish([*before, *messages], deadline)[len(before) :]
        if all(confirmed):
            return Confirmed(confirmed)
        trouble = session.trouble or NoAnswer(f"not confirmed within {self._timeout_s:g} s", timed_out=True)
        session.end(trouble)
        # What is said once goes first on each connection: alone it is no progress, and what follows may be to blame.
        if any(is_done and not message.once for message, is_done in zip(messages, confirmed, strict=True)):
            return Confirmed(confirmed, str(trouble))
        raise NoAnswer(str(trouble), sent=session.has_published, timed_out=trouble.timed_out)

    def _next(self, deadline: float) -> Session:
        """A session to be opened, once the one before has let go of everything.  Raises NoAnswer."""
        if (old := self._session) is not None:
            if not old.wait_until_closed(deadline, lambda: self._stopped):  # a name that is being looked up still
                raise NoAnswer("the connection before has not ended yet", timed_out=not self._stopped)
            if old.lasted_s >= self._early_s:
                self._signs = 0
            elif old.ended_in_order:
                self._signs += 1
        try:
            session = self._session = Session(self._broker, deadline)
        except UnicodeEncodeError:  # it quotes what may be a password
            raise NoAnswer("client_id, username or password is no text that MQTT can carry") from None
        if self._stopped:  # while there was no session to stop
            session.end(NoAnswer("stopped"))
        return session

    def _log_in(self, session: Session, deadline: float) -> Refused | TakenOver | None:
        """Opens it; an answer where the broker, or another client, will not have it.  Raises NoAnswer."""
        try:
            refused = session.open()
        except NoAnswer:
            self._signs = 0
            raise
        if refused:
            self._signs = 0
            return refused
        if self._signs >= _SIGNS:
            self._signs = 0
            now = time.monotonic()  # half of the time is left to the messages
            if session.ends_by(min(now + self._early_s, now + (deadline - now) / 2)) and session.ended_in_order:
                return TakenOver(self._broker.client_id)
        return None

    def tend(self) -> float:
        """Where others are told whether we are there, opens a session again that has ended since the last exchange."""
        if (presence := self._broker.presence) is None:
            return math.inf
        if self._session is not None and self._session.trouble:
            deadline = time.monotonic() + self._timeout_s
            with contextlib.suppress(NoAnswer):  # the next exchange says so, and the next time may do better
                if self._log_in(session := self._next(deadline), deadline) is None:
                    session.publish([presence.greeting], deadline)
        return _TENDED_S

    def abort(self) -> None:
        """Ends the exchange under way, from another thread."""
        self._stopped = True
        if (session := self._session) is not None:
            session.end(NoAnswer("stopped"))

    def close(self) -> None:
        """Takes leave of the broker; the next exchange connects again."""
        session, self._session = self._session, None
        if session is None:
            return
        deadline = time.monotonic() + min(_FAREWELL_S, self._timeout_s)
        presence = self._broker.presence
        # Unconfirmed, no leave is taken either: then the broker publishes the last will, which says the same.
        if not (presence and session.has_published) or all(session.publish([presence.farewell], deadline)):
            session.disconnect()
            session.wait_until_closed(deadline)
        session.end(NoAnswer("closed"))
        session.wait_until_closed(deadline)
