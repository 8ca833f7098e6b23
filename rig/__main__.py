"""``python -m rig``."""

from rig.cli import entry

if __name__ == "__main__":
    entry()
