"""`python -m finetune_trainer prepare | data | train | result | shape`: the first process of a stage's pod."""

from __future__ import annotations

import os
import signal
import sys

from finetune_api.contract import ExitCode
from finetune_trainer.signals import STOPPING

if __name__ == "__main__":
    # To a container's first process the kernel delivers only signals that it handles: one that came while all the rest
    # is imported would be lost, and the pod would stay for all of its grace period.
    for number in STOPPING:
        signal.signal(number, lambda *_: os._exit(ExitCode.STOPPED))
    from finetune_trainer import log_lines
    from finetune_trainer.commands import main

    log_lines.install()
    exit_code = main(sys.argv[1:], os.environ)
    # All that is left is the interpreter's own end. A SIGTERM there would make 143 of a code that says more.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(exit_code)
