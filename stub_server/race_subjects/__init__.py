"""Reference implementations for the race tests: a migrator, a job queue, a rate limit, a view's refresh, tenants.

Each module is small enough to be read and adopted. It runs as a command of its own (``python -m
stub_server.race_subjects.…``) over the PostgreSQL of ``DATABASE_URL``; what only the owner may do, it does over
``MIGRATION_DATABASE_URL``. ``--without NAME`` switches off one of its protections, to show what happens then.
"""
