"""Runs a command for as long as someone holds the other end of its standard input, and ends it with its children then.

Started as a script by :mod:`potstill.execute.program`, as leader of a process group. A parent that is killed lets go of the
pipe, however it was killed, so that no program outlives the run that asked for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

SIGNALLED = 128  # plus the number of the signal, as in a shell


def end_with_parent() -> None:
    """Wait for the end of standard input, then kill the whole group, this process with it."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the command of the arguments; its exit code becomes that of this process."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    code = child.wait()
    os._exit(code if code >= 0 else SIGNALLED - code)


if __name__ == "__main__":
    main()
