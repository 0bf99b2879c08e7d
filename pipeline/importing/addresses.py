"""The addresses of a source's providers, as our `base_url` has them."""

import re

from pipeline.importing.part import Part, fits
from pipeline.importing.upstreams import Upstream, as_base_url
from pipeline.importing.variables import ADDRESS, referred
from pipeline.settings.fields import HttpUrl


def address(part: Part, key: str, upstream: Upstream, wish: str) -> str:
    """Take an address; one that is missing or unusable becomes a variable. Empty: the usual one."""
    text = part.text(key)
    path = part.at(key)
    variables = part.tools.variables
    if not text:
        if not upstream.base_variable:
            return upstream.base_url
        return variables.use(upstream.base_variable, f"{path}, which is not set", ADDRESS)
    if referred(text):
        return as_base_url(upstream.kind, variables.plain(text, path, ADDRESS))
    if fits(text, HttpUrl):
        return as_base_url(upstream.kind, text).replace("$", "$$")
    name = re.sub(r"\W", "_", wish).upper()
    part.tools.report.lost(
        path,
        None,
        "expected a URL with http:// or https://, without user, password, query and fragment",
        f"set the variable {name}_API_BASE, or its name here, to one",
    )
    return variables.made_up(f"{name}_API_BASE", path, ADDRESS)
