"""``rig init``: a few questions about a service, and a commented profile that loads.

Flow: ``questions.QUESTIONS`` (what is asked, in order, with defaults) → answers → ``draft.draft`` (the profile's text,
validated) → ``draft.write``, which never overwrites. Who asks, and how, is the command line's. Secrets are never asked
for: only the names of the environment variables that hold them. Whether the answers are right, ``rig doctor`` finds
out.
"""
