"""A JWKS origin that counts every fetch, with start, end, concurrency and caller, and misbehaves on request.

``python -m stub_server.jwks_origin --ledger FILE`` serves ``GET`` of any path on loopback and prints one JSON line
``{"port": …}`` once it listens. It reads changes as JSON lines from its standard input, answers each with one line on
its standard output, and ends when its input closes. A change sets what it names and leaves the rest::

    {"document": {"keys": […]}}     what is served (rotation: another document); public keys only, it never has others
    {"cache_control": "max-age=60"} a header of the key sets (they have an ETag in any case)
    {"mode": "ok"|"fail"|"hang"|"drip"|"malformed"|"truncated", "status": 503, "delay_s": 0.2}
    {…, "at_ns": 123}               to be made at that instant of the monotonic clock

``ledger`` is a JSON-lines file, one line when a fetch starts and one when it ends, so that a crash loses nothing.
It has no TLS and no keys of its own.
"""
