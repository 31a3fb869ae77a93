"""The cursor of a page: where the next one starts. Opaque to clients, checked when it comes back."""

import base64
import binascii
import re
from typing import NamedTuple

from weather_common.products import parse_key

MAX_LENGTH = 64
_TEXT = re.compile(r"v1:(\d{4}/\d{2}/\d{2}/\d{6}\.jsonl):(\d{1,6})")


class Cursor(NamedTuple):
    """The next record: line `line` (0 is the first) of the object `name` (its key without the prefix)."""

    name: str
    line: int

    def encode(self) -> str:
        """Return the cursor as URL-safe text."""
        return base64.urlsafe_b64encode(f"v1:{self.name}:{self.line}".encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Return the cursor that encode() made; raises ValueError for any other text."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
        except (binascii.Error, UnicodeError, ValueError):
            raw = ""
        match = _TEXT.fullmatch(raw)
        if len(text) > MAX_LENGTH or match is None or parse_key(match[1]) is None:
            raise ValueError("not a cursor of this API; take it from the Link header of the page before")
        return cls(match[1], int(match[2]))
