"""How often the 95 % intervals covered the truth on planted data; captions quote it.

Copied by hand from analyses/results/coverage.json (`python -m analyses coverage`; a test compares the two). For each
measure and number of entities: the lowest and the highest share of samples over the settings of the study.
"""

from collections.abc import Mapping

COVERED: Mapping[str, Mapping[int, tuple[float, float]]] = {
    "S": {30: (0.946, 0.946), 100: (0.935, 0.948), 500: (0.947, 0.949)},
    "W": {30: (0.94, 0.955), 100: (0.954, 0.957), 500: (0.944, 0.949)},
    "X": {30: (0.933, 0.935), 100: (0.933, 0.94), 500: (0.949, 0.953)},
    "score": {30: (0.947, 0.949), 100: (0.947, 0.957), 500: (0.944, 0.947)},
    "alignment": {30: (0.954, 0.954), 100: (0.947, 0.955), 500: (0.944, 0.953)},
    "separation": {30: (0.944, 0.951), 100: (0.94, 0.947), 500: (0.945, 0.955)},
    "normalised": {30: (0.948, 0.95), 100: (0.947, 0.956), 500: (0.943, 0.95)},
    "retrieval": {30: (0.983, 0.985), 100: (0.978, 0.981), 500: (0.98, 0.986)},
    "mexa": {30: (0.964, 0.971), 100: (0.947, 0.958), 500: (0.956, 0.963)},
    "V_cross": {30: (0.983, 0.989), 100: (0.968, 0.972), 500: (0.95, 0.956)},
    "beyond_value": {30: (0.99, 0.993), 100: (0.97, 0.974), 500: (0.95, 0.961)},
    "cka": {30: (0.984, 0.99), 100: (0.978, 1.0), 500: (0.942, 0.992)},
    "procrustes": {100: (0.96, 1.0), 500: (0.97, 1.0)},
    "checkerboard": {30: (0.95, 0.966), 100: (0.964, 0.964), 500: (0.946, 0.96)},
    "auc": {30: (0.95, 0.964), 100: (0.95, 0.952), 500: (0.944, 0.95)},
    "effective_dimension": {30: (0.946, 0.958), 100: (0.936, 0.958), 500: (0.962, 0.966)},
    "mean_cosine": {30: (0.954, 0.962), 100: (0.94, 0.96), 500: (0.946, 0.958)},
}


NOMINAL = (0.93, 0.97)  # rates that a study of 500 samples can't tell from .95


def covered(measure: str, entities: int) -> str:
    """A clause for a caption, for the studied number of entities nearest (as a ratio) to this one."""
    if measure not in COVERED:
        return "how often these intervals cover was not studied"
    sizes = COVERED[measure]
    near = _nearest(sizes, entities)
    low, high = (f"{100 * share:.1f}" for share in sizes[near])
    rates = low if low == high else f"{low} to {high}"
    return f"95 % intervals covered {rates} % of planted samples of {near} entities"


def nominal(measure: str, entities: int) -> bool:
    """Whether coverage is near 95 % at the studied number of entities nearest to this one; False if not studied."""
    if measure not in COVERED:
        return False
    low, high = COVERED[measure][_nearest(COVERED[measure], entities)]
    return low >= NOMINAL[0] and high <= NOMINAL[1]


def _nearest(sizes: Mapping[int, tuple[float, float]], entities: int) -> int:
    """The studied number of entities that is nearest, as a ratio."""
    return min(sizes, key=lambda n: max(n, entities) / max(min(n, entities), 1))
