"""How a person ends a command of this machine."""

import signal
from typing import Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a supervisor, and the terminal that is closed."""
