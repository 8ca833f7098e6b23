"""Reference implementations of what stampedes else: a migrator, a job queue, a rate limit, a view's refresh, tenants.

Each module is small enough to be read and adopted, runs as a command of its own (``python -m
stub_server.race_subjects.…``) over the PostgreSQL of ``DATABASE_URL`` (``MIGRATION_DATABASE_URL`` for what only the
owner may do), and can do without each of its protections (``--without NAME``), so that it can be shown what happens
then.
"""
