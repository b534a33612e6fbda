"""Escapes text from models for a page: in HTML, in JSON, and characters that mislead the eye."""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from typing import Any

from markupsafe import Markup

# C0 and C1 controls except newline and tab, and characters that change the direction of writing
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` with what cannot be seen, or deceives the eye, written as `\\x1b` or `\\u202e`."""
    return _HIDDEN.sub(lambda match: _escape(ord(match[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def finalize(value: Any) -> Any:
    """What Jinja calls on every value before it escapes it."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def script_json(value: Any) -> Markup:
    """`value` as JSON that no reader of HTML takes for an end of its script element."""
    # the result is ASCII, so U+2028 is escaped
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 # nothing that HTML reads is left


def csp_hash(script: str) -> str:
    """The source expression of a Content-Security-Policy that allows this inline script."""
    return f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'"
