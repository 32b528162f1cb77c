"""Fills in the page's templates: all content is escaped, and a policy lets only mechxl's own scripts run.

Under the policy (a content security policy in the page itself, so that it holds offline) the browser fetches nothing.
"""

import base64
import hashlib
from importlib.resources import files
from typing import Any

import jinja2

from mechxl.plots import DARK
from mechxl.report.glossary import GLOSSARY, term_id, with_terms
from mechxl.report.packed import packed
from mechxl.report.plotlyjs import PART, plotly_js
from mechxl.version import own_version

SCRIPTS = ("theme", "unpack", "page", "play", "take", "model/model", "model/look", "model/patch", "model/panel")
# plotly writes styles into the page, and draws images that the page holds
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def render_page(template: str, inline: bool, plotly: str = PART, **content: Any) -> str:
    """Fills in a template of this package.

    Args:
        template: its file.
        inline: whether plotly.js stands in the page; otherwise the page loads it from a file beside it.
        plotly: the name of that file, which says which plotly.js it is (`plotlyjs.which`).
        content: what the template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mechxl.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"terms": with_terms, "term_id": term_id}
    environment.globals["packed"] = packed
    scripts = page_scripts(plotly if inline else "")
    sources = [f"'sha256-{base64.b64encode(_sha256(script)).decode()}'" for script in scripts.values()]

    def rendered(nonce: str) -> str:
        allowed = [*sources, f"'nonce-{nonce}'"] if nonce else sources
        shared = {"version": own_version(), "scripts": scripts, "dark": DARK, "nonce": nonce, "glossary": GLOSSARY}
        shared["plotly"] = plotly
        shared["policy"] = f"{POLICY}; script-src {' '.join(allowed)}"
        text = environment.get_template(template).render(**shared, **content)
        return text.encode(errors="backslashreplace").decode()  # names of files may hold what is no letter

    page = rendered("")
    # Browsers check no hash of a script beside a local file. The nonce is the page's own hash: no text that the page
    # holds can name it, and the same page has the same.
    return page if inline else rendered(_sha256(page).hex())


def page_scripts(plotly: str = "") -> dict[str, str]:
    """The scripts that a page may run, by name; plotly.js (`plotlyjs.which`) among them if it stands in the page."""
    scripts = {name: (files("mechxl.report") / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS}
    return scripts | ({"plotly": plotly_js(plotly)} if plotly else {})


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
