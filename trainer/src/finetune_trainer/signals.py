"""The signals that tell a pod, or a command at a terminal, to end. Imported before all else."""

import signal
from typing import Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
