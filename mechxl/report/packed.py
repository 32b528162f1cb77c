"""Long texts of a page in short: deflated, in base 85. `unpack.js` makes them out in the browser before all else."""

import base64
import zlib

from markupsafe import Markup

LEAST = 4000  # letters; a shorter text stays readable


def as_text(content: bytes) -> str:
    """Bytes as text that is safe inside a script element: base 85 with a comma for <."""
    return base64.b85encode(content + b"\0" * (-len(content) % 4)).decode().replace("<", ",")


def packed(text: str) -> Markup:
    """The end of a script's opening tag, and its content: packed with the number of its bytes, or as it is.

    Args:
        text: safe inside a script element.
    """
    if len(text) < LEAST:
        return Markup(f">{text}")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = deflate.compress(text.encode()) + deflate.flush()
    return Markup(f' data-packed="{len(content)}">{as_text(content)}')
