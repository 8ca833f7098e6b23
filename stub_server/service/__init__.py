"""The reference ingestion service: signed webhooks of many tenants into PostgreSQL, and the defects it can be given.

Flow of a request, one module a step::

    app ─► directory (tenant) ─► vendors (signature) ─► intake (personal, events, channels) ─► store ─► answer

``config`` names everything, ``schema`` makes the database from those names, ``supervisor`` runs ``worker``
processes on one port, ``metrics`` counts over all of them, ``defects`` makes it wrong on purpose. ``python -m
stub_server.service``.

It is what a load rig is proven against, not a product: no queue behind the events, no retention, no administration.
"""
