"""What can go wrong, by who has to act.

EdgedError
├── ConfigError          a person, now: the config is wrong; exit status 78
├── StoreHeld            a person: another daemon holds the store; exit status 1
├── StoreUnusable        a person: the store cannot be opened; exit status 1
├── SecretUnreadable     a person: a secret's source cannot be read; parks what needs it
├── SensorError          a sensor gave no reading
│   ├── NoReply          silent: wiring, power, address; passes by itself or after a visit
│   ├── CorruptReply     a reply that cannot be trusted (checksum, impossible bytes); passes by itself
│   └── WrongChip        another chip than the config says; waits for a person
└── NoAnswer             no usable answer from a platform: name, TCP, TLS, time-out; raised by transports only

A platform's reply, however bad, is an outcome and not an exception.  Anything else is a bug.
"""


class EdgedError(Exception):
    """Root of all errors that edged expects; its text is one line for a person."""


class ConfigError(EdgedError):
    """The config cannot be used; `problems` has a line for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreHeld(EdgedError):
    """Another process holds the store."""


class StoreUnusable(EdgedError):
    """The store's files cannot be opened or made."""


class SecretUnreadable(EdgedError):
    """A secret's source (credential, variable, file) cannot be read."""


class SensorError(EdgedError):
    """A sensor gave no reading."""


class NoReply(SensorError):
    """The device does not answer."""


class CorruptReply(SensorError):
    """The device answered with something that cannot be trusted."""


class WrongChip(SensorError):
    """The device is not what the config says."""


class NoAnswer(EdgedError):
    """The platform could not be reached, or its answer did not arrive whole."""

    def __init__(
        self,
        reason: str,
        *,
        sent: bool = False,
        timed_out: bool = False,
        premature: bool = False,
        unusable: bool = False,
    ) -> None:
        """`sent`: the request went out, at least in part, so it may have arrived, and what it holds may be to blame.

        `timed_out`: it took too long; `premature`: a certificate is not valid yet, if our clock is right; `unusable`:
        nothing can go out before a person has mended what the config gives, a certificate or a credential.
        """
        super().__init__(reason)
        self.sent = sent
        self.timed_out = timed_out
        self.premature = premature
        self.unusable = unusable
