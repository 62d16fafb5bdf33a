"""Orders drawn from random bits."""

from random import Random  # noqa: TID251 - drawn from the simulation's seed
from typing import Any

# 64 bits number the orders of so many items: 20! < 2**64.
FACTORIAL_ITEMS = 20


def shuffle(items: list[Any], drawn: int) -> None:
    """Put items in the order that 64 random bits stand for; all orders of up to 20 items are as likely."""
    if len(items) > FACTORIAL_ITEMS:
        Random(drawn).shuffle(items)  # noqa: S311 - chance that can be replayed is the point
        return
    for last in range(len(items) - 1, 0, -1):
        drawn, other = divmod(drawn, last + 1)
        items[last], items[other] = items[other], items[last]
