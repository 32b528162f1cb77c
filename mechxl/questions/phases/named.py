"""What the curves of unification are called: the excess over the trained null, and the run's own numbers."""

from typing import NamedTuple


class Named(NamedTuple):
    """What a layer's curves of S - X and of S - W are called."""

    quantity: str
    units: tuple[str, str]

    def at(self, layer: int) -> str:
        """The quantity at a layer."""
        return f"{self.quantity}, layer {layer}"


EXCESS = Named("unification", ("excess of S - X", "excess of S - W"))  # over the trained null
RAW = Named("raw alignment", ("S - X", "S - W"))  # rises where nothing can unify, too


def layer_of(quantity: str) -> int:
    """The layer that a quantity's name ends with."""
    return int(quantity.rsplit(" ", 1)[1])
