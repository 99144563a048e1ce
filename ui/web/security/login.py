"""Name and password, and how often they may be tried: by account, by address, and by both.

A delay alone slows nobody who tries many at once, so attempts are counted before the password is compared, and a right one while
the count is used up is refused too. One address alone cannot lock an account for everybody.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar

from ui.web.security.access import Rate

SLOW = 0.5  # seconds that a wrong password takes
PERIOD = 300.0  # seconds in which attempts are counted
BOTH, ADDRESS, ACCOUNT = 5, 20, 100  # wrong ones in that time: of one account by one address, by one address, of one account
NAME = 100  # characters of a name that are told apart

address: ContextVar[str] = ContextVar("address", default="")
"""Where the request comes from that this task answers; the request filter sets it."""


class Attempts:
    """The wrong passwords of the last PERIOD seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = tuple(Rate(limit, PERIOD, clock) for limit in (BOTH, ADDRESS, ACCOUNT))

    def take(self, user: str, source: str) -> float:
        """Count an attempt and return 0; or the seconds to wait, where it is one too many."""
        taken: list[tuple[Rate, str]] = []
        for rate, key in zip(self._rates, _keys(user, source), strict=True):
            if wait := rate.take(key):
                for other, counted in taken:
                    other.give_back(counted)
                return wait
            taken.append((rate, key))
        return 0.0

    def give_back(self, user: str, source: str) -> None:
        """Uncount an attempt: the password was right."""
        for rate, key in zip(self._rates, _keys(user, source), strict=True):
            rate.give_back(key)


def guard(auth: Mapping[str, str], attempts: Attempts | None = None) -> Callable[[str, str], Awaitable[bool]] | None:
    """The check of name and password for gradio; a wrong one takes its time, and too many are answered with 429. None without names."""
    if not auth:
        return None
    counted = attempts or Attempts()

    async def check(user: str, password: str) -> bool:
        source = address.get()
        if wait := counted.take(user, source):
            raise _too_many(wait)
        known = auth.get(user)
        right = secrets.compare_digest((known or secrets.token_urlsafe()).encode(), password.encode())
        if right and known is not None:
            counted.give_back(user, source)
            return True
        await asyncio.sleep(SLOW)
        return False

    return check


def network(host: str) -> str:
    """An address as it is counted: of IPv6 the half that one subscriber has."""
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host[:NAME]
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def _keys(user: str, source: str) -> tuple[str, str, str]:
    name = user[:NAME]
    return f"{name}\n{source}", source, name


def _too_many(wait: float) -> Exception:
    from starlette.exceptions import HTTPException

    seconds = math.ceil(wait)
    return HTTPException(429, f"too many attempts; try again in {seconds} s", {"Retry-After": str(seconds)})
