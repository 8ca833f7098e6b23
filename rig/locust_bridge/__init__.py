"""The rig as a guest of locust: native workers for its master, its user classes, its web UI.

``wire``, ``worker`` and ``ramping_users`` are a load process that speaks locust's protocol and does not import locust.
``native_workers`` and ``native_client`` are the two ends of a line on which the rig says what to send.
What begins with ``master`` runs inside locust's process, which ``import locust`` patches. ``coordinator`` does
everything that must not happen in that process.
"""
