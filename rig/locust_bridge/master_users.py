"""The user classes that locust sees. It counts and distributes their users; native workers send what they stand for."""

from __future__ import annotations

from collections.abc import Iterable

from locust import User, task

from rig.model import UserClass


class NativeUser(User):
    """A user that a native worker runs; nothing of it is ever created in locust's own process."""

    abstract = True

    @task
    def send(self) -> None:
        """Do nothing: locust wants a task of every class."""


def classes_of(mix: Iterable[UserClass], shared: str) -> dict[str, type[User]]:
    """A class of locust's for each user class, and one for the scenario that users share; by name."""
    weights = {each.name: each.weight for each in mix} | ({shared: 1} if shared else {})
    return {name: type(name, (NativeUser,), {"weight": weight}) for name, weight in weights.items()}
