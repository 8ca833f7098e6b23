"""Profiles of services that nobody runs: for tests that need tables or bodies, and no target."""

from __future__ import annotations

from typing import Any

from rig.profile import Profile


def handmade(truth: dict[str, Any], **route: Any) -> Profile:
    """A profile with one route, ``orders``; ``route`` are its keys that differ from a plain one's."""
    plain = {
        "name": "orders",
        "path": "/orders",
        "scheme": "hmac-sha256-hex",
        "signature_header": "X-Sign",
        "secret": "orders",
        "body": '{"id": "<event>"}',
        "malformed": [{"remove": "id"}],
        "personal": [{"at": "email", "kind": "email"}],
    }
    return Profile.model_validate(
        {
            "version": 1,
            "name": "handmade",
            "target": {"base_url": "http://127.0.0.1:9"},
            "headers": {"tenant_key": "X-Shop", "idempotency_key": "X-Dedup", "correlation_id": "X-Trace"},
            "tenants": {"provision_sql": "SELECT 1"},
            "routes": [plain | route],
            "truth": truth,
        }
    )
