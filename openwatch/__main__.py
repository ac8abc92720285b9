"""`python -m openwatch`."""

from __future__ import annotations

import sys

from openwatch.cli import main

sys.exit(main())
