"""The rig's engine beside other load generators, against one stub, in one interleaved run: ``make bench``.

Flow: ``table`` is the list of clients; each trial starts a client against the null stub and comes back with what it did
and what it cost; ``__main__`` interleaves the trials and writes docs/benchmarks/.
"""
