"""Why the service cannot serve. The message is one readable line; the class decides the exit code.

Not for a request that fails: that is an answer, not an exception.
"""

from __future__ import annotations


class ServiceError(Exception):
    """The service cannot start or go on; ``exit_code`` follows sysexits.h."""

    exit_code = 70


class ServiceUsageError(ServiceError):
    """The command line asks for something that does not exist."""

    exit_code = 64


class ServiceUnavailable(ServiceError):
    """The port cannot be bound or the database cannot be reached."""

    exit_code = 69


class ServiceConfigError(ServiceError):
    """The configuration file, an environment variable or a database role is wrong."""

    exit_code = 78
