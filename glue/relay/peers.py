"""Who a request comes from, when it may have come through a proxy."""

import ipaddress
from collections.abc import Sequence

from websockets.datastructures import Headers

from glue.settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Peers:
    """Reads forwarding headers of those proxies alone that the relay was told to trust."""

    def __init__(self, trusted_proxies: Sequence[Network], scheme: str) -> None:
        self._trusted = tuple(trusted_proxies)
        self._scheme = scheme

    def address(self, peer: str, headers: Headers) -> str:
        """The nearest address that is no trusted proxy's; anybody may have written the rest."""
        nearest = parse(peer)
        assert nearest is not None  # a socket's
        hops = ",".join(headers.get_all("X-Forwarded-For")).split(",")
        while self._is_trusted(nearest) and hops:
            hop = parse(hops.pop().strip())
            if hop is None:
                break
            nearest = hop
        return str(nearest)

    def scheme(self, peer: str, headers: Headers) -> str:
        """How the browser has reached us: http or https."""
        said = headers.get_all("X-Forwarded-Proto")
        if self.is_proxy(peer) and said in (["http"], ["https"]):
            return said[0]
        return self._scheme

    def is_proxy(self, peer: str) -> bool:
        """Whether others come through it, as far as we were told."""
        address = parse(peer)
        return address is not None and self._is_trusted(address)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def parse(text: str) -> Address | None:
    """An address without its zone, IPv4 as IPv4; None for what is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
