"""What all drivers of I2C chips share: their options, the chip at its address, and the simulated chip in its place."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from edged.buses import i2c
from edged.buses.i2c import Chip, Wire
from edged.drivers import Driver
from edged.options import Seconds, option


@dataclass(frozen=True)
class Sim:
    """How a simulated chip fails."""

    fault: Literal["nack", "hang", "flap", "corrupt", "unplugged"] = option(help="what goes wrong")
    every: Seconds = option(60.0, help="how often", above=0)
    for_s: Seconds = option(10.0, name="for", help="how long each time, at the end of each `every`", above=0)


@dataclass(frozen=True)
class I2cOptions:
    """Where the chip is."""

    bus: int | str = option(1, help='number of the I2C bus; "sim" or "sim:NAME" for a simulated one', minimum=0)
    address: int | None = option(None, help="of the chip; default: the first that it can have")
    sim: Sim | None = option(None, help='fault of a simulated chip: { fault = "nack", every = "1m", for = "10s" }')


class I2cDriver(Driver):
    """A chip on an I2C bus."""

    Options = I2cOptions
    addresses: ClassVar[tuple[int, ...]]  # that the chip can have, the usual one first
    _chip: Chip | None = None

    @property
    def chip(self) -> Chip:
        """The chip; its bus is opened with the first transfer."""
        if self._chip is None:
            name = i2c.simulated(self.options.bus)
            wire = i2c.open_bus(self.options.bus) if name is None else self._simulated(name)
            self._chip = Chip(wire, self.options.bus, self._address(self.options), self.timeout_s)
        return self._chip

    @classmethod
    def lane(cls, options: Any) -> Hashable | None:
        """The bus: its chips take turns."""
        return ("i2c", options.bus)

    @classmethod
    def check(cls, options: Any) -> Iterable[tuple[str, str]]:
        """The bus must be one, the address one of the chip's, and the fault must fit into its time."""
        name = i2c.simulated(options.bus)
        if name is None:
            if options.sim is not None:
                yield "sim", 'only a simulated chip has it; remove it, or write bus = "sim"'
        elif options.bus != "sim" and not (options.bus.startswith("sim:") and name):
            number = options.bus.removeprefix("/dev/").removeprefix("i2c-")
            advice = f"; did you mean bus = {number}?" if number.isdecimal() else ""
            yield "bus", f'{options.bus!r} is no bus: a number, "sim" or "sim:NAME"{advice}'
        elif cls._name() not in _simulations():
            yield "bus", f"there is no simulated {cls._name()}; there are: {', '.join(_simulations())}"
        if options.address is not None and options.address not in cls.addresses:
            yield "address", cls._no_address(options.address)
        if options.sim is not None and options.sim.for_s > options.sim.every:
            yield "sim.for", f"{options.sim.for_s:g} s do not fit into `every`, which is {options.sim.every:g} s"

    @classmethod
    def advice(cls, key: str, value: object) -> str:
        """What to write instead of a value of a wrong type; or nothing."""
        if key != "address" or not isinstance(value, str):
            return ""
        try:
            address = int(value, 16)
        except ValueError:
            address = -1
        if address in cls.addresses:
            return f"write address = {address:#04x}, without quotes"
        return f"write one of {cls._allowed()}, without quotes"

    @classmethod
    def claims(cls, options: Any) -> Iterable[tuple[str, str]]:
        """The address on its bus."""
        return [("address", f"I2C bus {options.bus}, address {cls._address(options):#04x}")]

    @classmethod
    def absent(cls, options: Any) -> str:
        """Why the bus or the chip cannot be used, without a transfer."""
        return "" if isinstance(options.bus, str) else i2c.absent(options.bus, cls._address(options))

    @classmethod
    def _address(cls, options: Any) -> int:
        address: int | None = options.address
        return cls.addresses[0] if address is None else address

    @classmethod
    def _name(cls) -> str:
        """As a config has it."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    @classmethod
    def _allowed(cls) -> str:
        return ", ".join(f"{address:#04x}" for address in cls.addresses)

    @classmethod
    def _no_address(cls, address: int) -> str:
        """Says so; an address written as in a datasheet but without 0x is offered with it."""
        meant = int(str(address), 16)
        if meant in cls.addresses:
            shown, offer = f"{address} is {address:#04x}, which", f"; did you mean {meant:#04x}?"
        else:
            shown, offer = f"{address:#04x} (decimal {address})", ""
        return f"{shown} is no address of a {cls._name()}; allowed: {cls._allowed()}{offer}"

    def _simulated(self, name: str) -> Wire:
        """The simulated bus, on which the chip is plugged in at first use."""
        from edged.simulation import bus as buses  # all three here, since only demonstrations need them
        from edged.simulation import chips
        from edged.simulation.faults import FaultSchedule

        bus, address, sim = buses.open_bus(name), self._address(self.options), self.options.sim
        if bus.is_free(address):
            fault = FaultSchedule(sim.fault, sim.every, sim.for_s) if sim else None
            bus.plug(address, chips.model(self._name(), address, name), fault)
        return bus


def _simulations() -> list[str]:
    from edged.simulation import chips  # here, since only demonstrations need it

    return chips.names()
