"""``python -m rig``, and the console script."""

import gc
import signal

_COLLECT_AFTER = 20_000
"""Objects, not 700: what is imported stays, and looking for garbage in it takes a tenth of the time of the imports."""


def entry() -> None:
    """Import the command line and run it. Ctrl-C meanwhile ends the process without a traceback of an import."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as by a shell's "&"
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(_COLLECT_AFTER)
    from rig.cli import entry as run

    run()


if __name__ == "__main__":
    entry()
