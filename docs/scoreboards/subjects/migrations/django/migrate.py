"""``manage.py migrate`` of a project with one app, and Django's own two."""

import os
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command

url = urlsplit(os.environ["DATABASE_URL"])
database = {
    "NAME": url.path[1:],
    "USER": url.username,
    "PASSWORD": url.password,
    "HOST": url.hostname,
    "PORT": url.port,
}
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **database}},
    USE_TZ=True,
)
django.setup()
call_command("migrate", verbosity=0)
