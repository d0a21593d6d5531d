"""The process of one run of a sweep: it saves all and stops once the sweep is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from otf.cli import main

_GLANCE = 0.1  # seconds between two looks at the parent


def follow_parent(parent: int) -> None:
    """Ask this process to stop once its parent has another number than this one."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_GLANCE)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    follow_parent(int(sys.argv[2]))
    sys.exit(main(["resume", sys.argv[1]]))
