"""edged: reads sensors, keeps every reading on disk, delivers it to the platforms that want it."""

__version__ = "0.1.0"
