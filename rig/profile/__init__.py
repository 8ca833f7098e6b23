"""Who the target is: a TOML file, validated.

It holds everything that the rig knows about a target: routes, bodies, signatures, header names, tenants, answers, the
tables and columns with the truth, how it is started. To test another service, write a profile, not code. It never
contains secrets, only the names of the environment variables that hold them.

Bodies are JSON texts with placeholders, filled by the targeter: ``<event>`` (text, unique to the key), ``<number>``
(the same as digits), ``<amount>`` (minor units, integer), ``<decimal>`` (the same amount as ``12.34``), ``<unix>`` and
``<iso>`` (when the event happened), ``<source>`` (utm_source), ``<correlation>``, ``<key>``.
"""

from rig.profile.load import bundled_profile, load_profile, parse_profile
from rig.profile.sections import (
    Answer,
    CanonicalTable,
    ChannelAlias,
    DeadTable,
    FixedTenant,
    Headers,
    Launch,
    Mutation,
    PersonalField,
    PoolSeries,
    Probes,
    Target,
    Tenants,
    Truth,
    WebhookRoute,
)
from rig.profile.variables import environment, secret_from
from rig.profile.whole import Profile

__all__ = [
    "Answer",
    "CanonicalTable",
    "ChannelAlias",
    "DeadTable",
    "FixedTenant",
    "Headers",
    "Launch",
    "Mutation",
    "PersonalField",
    "PoolSeries",
    "Probes",
    "Profile",
    "Target",
    "Tenants",
    "Truth",
    "WebhookRoute",
    "bundled_profile",
    "environment",
    "load_profile",
    "parse_profile",
    "secret_from",
]
