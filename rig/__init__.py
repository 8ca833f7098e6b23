"""The rig: certify the client, storm a service, prove the truth in PostgreSQL."""

__version__ = "0.1.0"
