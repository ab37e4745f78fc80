"""Not asking too often."""

from __future__ import annotations

import asyncio

_MINUTE = 60.0


class Pace:
    """Lets so many units through a minute, evenly spread, whoever asks first goes first.

    Even spreading keeps any minute within the limit, whenever a server's minutes begin.

    Args:
        per_minute: units a minute; None lets everything through.

    Example:
        >>> pace = Pace(120)
        >>> await pace.take(1)  # at once; the next one half a second later
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_a_unit = 0.0 if per_minute is None else _MINUTE / per_minute
        self._free_at = 0.0

    async def take(self, units: float) -> None:
        """Wait until these units may pass."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._free_at)
        self._free_at = start + units * self._seconds_a_unit
        if start > now:
            await asyncio.sleep(start - now)
