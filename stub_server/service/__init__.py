"""The reference ingestion service: signed webhooks of many tenants into PostgreSQL, and the defects it can be given.

Flow of a request, one module a step::

    app ─► directory (tenant) ─► vendors (signature) ─► intake (personal, events, channels) ─► store ─► answer

``config`` has all names, ``schema`` makes the database from them, ``supervisor`` runs ``worker`` processes on one port,
``metrics`` counts over all of them, ``defects`` makes the service wrong on purpose. Start it with
``python -m stub_server.service``.

A load rig is proven against this service. It is no product: no queue behind the events, no retention, no
administration.
"""
