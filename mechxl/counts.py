"""Shares of a total as exact counts."""

import numpy as np


def exact_count(share: float, total: int) -> int:
    """`share` of `total` as a whole number; halves are rounded up."""
    return int(np.floor(share * total + 0.5))


def shared_counts(share: float, parts: list[int]) -> list[int]:
    """A count for each part, `share` of it; rounding is carried along, so they sum to the exact count of the total."""
    ends = [exact_count(share, int(total)) for total in np.cumsum([0, *parts])]
    return [int(n) for n in np.diff(ends)]
