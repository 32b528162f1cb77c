"""Shares as exact counts."""

import numpy as np


def exact_count(share: float, total: int) -> int:
    """`share` of `total`, rounded half up: the exact count that a share setting stands for."""
    return int(np.floor(share * total + 0.5))


def shared_counts(share: float, parts: list[int]) -> list[int]:
    """Exact shared count of each part, whose sum is the exact count of the total (rounding is carried along)."""
    ends = [exact_count(share, int(total)) for total in np.cumsum([0, *parts])]
    return [int(n) for n in np.diff(ends)]
