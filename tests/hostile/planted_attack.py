"""The verb, with the planted steps known to it. Only the self-test runs this."""

from __future__ import annotations

import sys

from . import planted  # noqa: F401
from .attack import main

if __name__ == "__main__":
    sys.exit(main())
