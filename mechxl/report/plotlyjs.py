"""Which plotly.js a page needs: the part that draws in plane axes, a third of the whole, or the whole.

The part is plotly's own bundle of the npm package plotly.js-cartesian-dist-min (MIT), of the version that the Python
package plotly holds whole. mechxl's figures need no more; figures of own questions may.
"""

import gzip
from collections.abc import Iterable
from importlib.resources import files

from plotly.offline import get_plotlyjs

from mechxl.report.sections import Figure

PART, WHOLE = "plotly.min.js", "plotly-whole.min.js"  # names of the file beside a page
PLANE = "bar box contour heatmap histogram histogram2d histogram2dcontour image pie scatter scatterternary violin"
DRAWN = frozenset(PLANE.split())  # kinds of traces that the part draws


def which(figures: Iterable[Figure]) -> str:
    """PART, or WHOLE where one of these figures has a kind of trace that the part does not draw."""
    return PART if all(figure.kinds <= DRAWN for figure in figures) else WHOLE


def plotly_js(name: str = PART) -> str:
    """The script of a name: PART or WHOLE."""
    if name == WHOLE:
        return str(get_plotlyjs())
    content = (files("mechxl.report") / "plotly-cartesian.min.js.gz").read_bytes()
    return gzip.decompress(content).decode()
