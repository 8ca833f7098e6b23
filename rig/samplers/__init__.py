"""What the database, the processes and the machine did while a target was under load: samplers that never judge.

Flow: ``sampling.sampling`` starts ``pg_activity`` and ``pids``, each in a process of its own (``process``), which
append what they see to a journal (``journal``) at a fixed rate (``loop``). At the end ``frames`` turns the journals
into Parquet; ``model`` says what the frames hold; ``aas`` and ``cpu`` count in them, purely. Only ``model``, ``aas``
and ``cpu`` are for the readers of evidence: they do no I/O.
"""
