"""The way to a destination: DNS, TCP and TLS, each step built on the one before."""

from collections.abc import Generator

from edged.errors import NoAnswer
from edged.probing import Finding, network
from edged.probing.address import Address
from edged.probing.network import Trust

Steps = Generator[Finding, None, bool]  # returns whether there is any use in those that follow


def way(there: Address, proxy: Address | None, trust: Trust, limit_s: float) -> Steps:
    """To the destination, or to the proxy before it and on through that; `limit_s` for each step."""
    first = proxy or there
    step = "dns"
    try:
        ips = network.resolve(first.host, first.port, limit_s)
        found = "an address itself" if ips == [first.host] else ", ".join(ips)
        by_proxy = f"; it is the proxy, to which it is left to find {there.host}" if proxy else ""
        yield Finding(step, True, f"{first.host}: {found}{by_proxy}")
        step = "tcp"
        connected = network.connect(ips, first.port, limit_s)
        with connected.socket:
            yield Finding(step, True, connected.told)
            step = "tls"
            if not there.tls:
                risk = "none, but it stays on this machine" if there.is_here else "warning: none: secrets go in clear"
                yield Finding(step, None, risk)
            elif proxy and proxy.tls:
                yield Finding(step, None, "not looked at, since it is within the proxy's own")
            else:
                if proxy:
                    network.tunnel(connected.socket, there, limit_s)
                yield Finding(step, True, network.secure(connected.socket, there, trust, limit_s))
    except NoAnswer as error:
        yield Finding(step, False, str(error))
        return False
    return True
