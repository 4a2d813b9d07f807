"""The real daemon as a process of its own, against strict stand-ins and a real broker."""
