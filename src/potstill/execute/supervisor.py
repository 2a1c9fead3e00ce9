"""Runs a command while another process holds the other end of its standard input; then ends it with its children.

Started as a script by :mod:`potstill.execute.program`, as leader of a process group. The pipe closes when the parent ends,
however it was killed, so that no program outlives its run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

SIGNALLED = 128  # plus the number of the signal, as in a shell


def end_with_parent() -> None:
    """Wait for the end of standard input, then kill the whole group including this process."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the command of the arguments, and exit with its exit code."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    code = child.wait()
    os._exit(code if code >= 0 else SIGNALLED - code)


if __name__ == "__main__":
    main()
