"""Founds the one-member replica set and its users on mongod's first start; tells whether it is primary."""

from __future__ import annotations

import asyncio

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from stack.errors import NotReady
from stack.secrets import OPERATOR, Secrets, read
from stack.servers.mongod import DATABASE, REPLICA_SET
from stack.settings import LOOPBACK

_ANSWER_LIMIT_MS = 2_000
_AUTHENTICATION_FAILED = 18

_Client = AsyncMongoClient[dict[str, object]]


class Member:
    """The one member, seen from its own machine. `serves` is its probe; `name` is `host:port` by which drivers reach
    it, where that is not loopback."""

    def __init__(self, port: int, secrets: Secrets, name: str = "") -> None:
        self._port = port
        self._name = name or f"{LOOPBACK}:{port}"
        self._secrets = secrets
        self._client: _Client | None = None  # as operator, once that user exists

    async def serves(self) -> None:
        try:
            if self._client is None:
                await self._found()
            await self._must_be_primary()
        except PyMongoError as error:
            raise NotReady(f"{type(error).__name__}: {error}") from error

    async def _found(self) -> None:
        await self._must_listen()
        # Until the first user exists, mongod lets a caller on loopback do what founding takes.
        async with self._connect() as stranger:
            await self._initiate(stranger)
            if not await self._knows_operator():
                await self._add_user(stranger, OPERATOR, "admin", "root")
        client = self._connect(OPERATOR)
        try:
            await self._add_services(client)
        except BaseException:
            await client.close()
            raise
        self._client = client

    async def _must_listen(self) -> None:
        # The driver tries a closed port every half second only; while mongod starts that is long.
        _, writer = await asyncio.open_connection(LOOPBACK, self._port)
        writer.close()

    async def _knows_operator(self) -> bool:
        async with self._connect(OPERATOR) as client:
            try:
                await client.admin.command("ping")
            except OperationFailure as error:
                if error.code != _AUTHENTICATION_FAILED:
                    raise
                return False
        return True

    async def _initiate(self, stranger: _Client) -> None:
        hello = await stranger.admin.command("hello")
        if "setName" not in hello:
            member = {"_id": 0, "host": self._name}
            await stranger.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})
        elif hello.get("isWritablePrimary"):
            return
        raise NotReady("the replica set elects its primary")

    async def _add_services(self, operator: _Client) -> None:
        """Makes the role and the user of each service what stack/rights.py says, and removes other users."""
        # Late: only the one who founds needs the tables.
        from stack import rights

        database = operator[DATABASE]
        users = {one["user"] for one in (await database.command("usersInfo"))["users"]}
        roles = {one["role"] for one in (await database.command("rolesInfo"))["roles"]}
        for name in rights.MONGODB:
            role = rights.mongodb_role(name)
            verb = "updateRole" if role in roles else "createRole"
            await database.command(verb, role, privileges=rights.privileges(name, DATABASE), roles=[])
            if name in users:
                await database.command("updateUser", name, roles=[role])
            else:
                await self._add_user(operator, name, DATABASE, role)
        for name in users - set(rights.MONGODB):
            await database.command("dropUser", name)

    async def _add_user(self, client: _Client, name: str, database: str, role: str) -> None:
        password = read(self._secrets.mongod_password(name))
        await client[database].command("createUser", name, pwd=password, roles=[role])

    async def _must_be_primary(self) -> None:
        assert self._client is not None
        hello = await self._client.admin.command("hello")
        if not hello.get("isWritablePrimary"):
            raise NotReady("it is not primary")

    def _connect(self, user: str | None = None) -> _Client:
        return AsyncMongoClient(
            LOOPBACK,
            self._port,
            username=user,
            password=read(self._secrets.mongod_password(user)) if user else None,
            directConnection=True,
            serverSelectionTimeoutMS=_ANSWER_LIMIT_MS,
            timeoutMS=_ANSWER_LIMIT_MS,
            appname="crown-stack",
        )
