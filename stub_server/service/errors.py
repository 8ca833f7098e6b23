"""What stops the service before it serves. The message is one readable line; the class says how the process ends.

Not for what one request may meet: that is an answer, not an exception.
"""

from __future__ import annotations


class ServiceError(Exception):
    """The service cannot start or go on; ``exit_code`` follows sysexits.h."""

    exit_code = 70


class UsageError(ServiceError):
    """The command line asks for something that does not exist."""

    exit_code = 64


class Unavailable(ServiceError):
    """The port cannot be bound or the database cannot be reached."""

    exit_code = 69


class ConfigError(ServiceError):
    """The configuration file, an environment variable or a database role is wrong."""

    exit_code = 78
