"""Makes the tables as their owner, loads the account and the endpoint, and lets the service's role use them.

OWNER_DATABASE_URL is the owner's DSN, DATABASE_URL that of the service.
"""

import os
from pathlib import Path

import django
from django.core.management import call_command
from django.db import connection
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

role = sql.Identifier(str(conninfo_to_dict(os.environ["DATABASE_URL"])["user"]))
os.environ |= {"DATABASE_URL": os.environ["OWNER_DATABASE_URL"], "DJANGO_SETTINGS_MODULE": "settings"}
django.setup()
call_command("migrate", verbosity=0)
call_command("loaddata", str(Path(__file__).with_name("endpoint.json")), verbosity=0)
with connection.cursor() as cursor:
    for what in ("TABLES", "SEQUENCES"):
        grant = sql.SQL("GRANT ALL ON ALL {} IN SCHEMA public TO {}").format(sql.SQL(what), role)
        cursor.execute(grant.as_string())
