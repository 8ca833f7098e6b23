"""Who the target is: a TOML file, validated.

It holds everything that the rig knows about a target: routes, bodies, signatures, header names, tenants, answers, the
tables and columns with the truth, how it is started. To test another service, write a profile, not code. It never
contains secrets, only the names of the environment variables that hold them.

What a sender posts are texts with placeholders (``rig.profile.placeholders``); ``rig.requests`` fills them.
"""

from rig.profile.answers import Answer, Answers, BodyRule
from rig.profile.content import ChannelAlias, ContentField
from rig.profile.faults import FaultCommand
from rig.profile.load import bundled_profile, load_profile, parse_profile
from rig.profile.routes import Mutation, PersonalField, WebhookRoute
from rig.profile.target import Headers, Launch, PoolSeries, Probes, Target
from rig.profile.tenants import FixedTenant, Tenants
from rig.profile.truth import CanonicalTable, DeadTable, Truth
from rig.profile.variables import environment, secret_from
from rig.profile.whole import Profile

__all__ = [
    "Answer",
    "Answers",
    "BodyRule",
    "CanonicalTable",
    "ChannelAlias",
    "ContentField",
    "DeadTable",
    "FaultCommand",
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
