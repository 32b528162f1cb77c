"""A page with its packed texts made out, as `unpack.js` does in the browser."""

import base64
import re
import zlib


def unpacked(page: str) -> str:
    """The page as it would be if nothing were packed."""

    def made_out(found: re.Match[str]) -> str:
        content = base64.b85decode(found[2].replace(",", "<"))[: int(found[1])]
        return f">{zlib.decompress(content, -15).decode()}</script>"

    return re.sub(r' data-packed="(\d+)">([^<]*)</script>', made_out, page)
