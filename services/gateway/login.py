"""The first part of a driver connection's life: the handshake, with auth's answers, until a session takes over."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Protocol, cast

from photondb.api.auth import ADMIN, AuthApi, AuthenticationFailed, ScramChallenge, ScramOutcome
from photondb.api.context import CallContext
from photondb.peers import is_on_this_machine
from services.gateway.farewell import Farewell
from services.gateway.handshake import (
    NO_RESOURCES,
    OTHER_ERROR,
    Action,
    BeginScram,
    CheckPassword,
    Close,
    Established,
    FinishScram,
    Handshake,
    HandshakeError,
    Send,
)
from services.gateway.holdings import Holdings
from services.gateway.limits import Limits

logger = logging.getLogger(__name__)

AUTH_TIMEOUT_MS = 5_000
"""How long a client waits for auth at most, so that it hears of an auth that cannot be reached."""

NO_PASSWORD = (
    "This account has no password, so it can be used only from the machine that the server runs on. Set a password "
    "there (for `admin` at the start: PHOTONDB_ADMIN_PASSWORD), or let all others in with "
    "PHOTONDB_ALLOW_EMPTY_PASSWORDS=1."
)


class ConnectionLog(Protocol):
    """Who must know which connections are open, and what they hold."""

    holdings: Holdings

    def opened(self, transport: asyncio.Transport) -> str | None:
        """A client has connected. Returns the text with which it is to be turned away, None if it is welcome."""
        ...

    def closed(self, transport: asyncio.Transport) -> None:
        """The connection is gone."""
        ...


class LoginProtocol(asyncio.Protocol):
    """A client that has not logged in yet. `established` makes the session's protocol for one that has."""

    def __init__(
        self,
        auth: AuthApi,
        limits: Limits,
        connections: ConnectionLog,
        server_version: str,
        established: Callable[[Established], asyncio.Protocol],
    ) -> None:
        self._auth = auth
        self._limits = limits
        self._connections = connections
        self._server_version = server_version
        self._established = established
        self._transport: asyncio.Transport
        self._handshake: Handshake
        self._timer: asyncio.TimerHandle
        self._question: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        refusal = self._connections.opened(self._transport)
        error = None if refusal is None else HandshakeError(NO_RESOURCES, refusal)
        self._handshake = Handshake(self._server_version, error)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            # A client that vanishes without a word is noticed although it owes the server nothing.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # asyncio does this only for sockets that say that they are TCP, which accepted ones do not.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.handshake_timeout_ms / 1000, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        self._carry_out(self._handshake.receive(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        if self._question is not None:
            self._question.cancel()
        self._connections.closed(self._transport)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(data):
                    self._transport.write(data)
                case CheckPassword() | BeginScram() | FinishScram():
                    # What the client sends meanwhile can wait in its socket.
                    self._transport.pause_reading()
                    self._question = asyncio.get_running_loop().create_task(self._ask(action))
                case Close(data):
                    self._timer.cancel()
                    Farewell.say(self._transport, data, self._connections.closed, self._limits.linger_timeout_ms)
                case Established(rest=rest):
                    self._timer.cancel()
                    session = self._established(action)
                    self._transport.set_protocol(session)
                    session.connection_made(self._transport)
                    if rest:
                        session.data_received(rest)

    async def _ask(self, question: CheckPassword | BeginScram | FinishScram) -> None:
        """Put the question to auth and go on with its answer."""
        try:
            answer = await self._put(question)
        except AuthenticationFailed as error:
            actions = self._handshake.refuse(error)
        except Exception:
            logger.exception("a login could not be checked")
            actions = self._handshake.fail(NO_RESOURCES, "The server cannot check logins at the moment. Try again.")
        else:
            match answer:
                case ScramChallenge():
                    actions = self._handshake.challenge(answer)
                case ScramOutcome() if answer.empty_password and self._is_elsewhere:
                    actions = self._handshake.fail(OTHER_ERROR, NO_PASSWORD)
                case ScramOutcome():
                    actions = self._handshake.accept_proof(answer)
                case _ if isinstance(question, CheckPassword) and not question.password and self._is_elsewhere:
                    actions = self._handshake.fail(OTHER_ERROR, NO_PASSWORD)
                case user:
                    actions = self._handshake.accept_password(user)
        self._question = None
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._carry_out(actions)

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the client is on another machine, from which accounts need a password."""
        peer = self._transport.get_extra_info("peername")
        return not self._limits.empty_passwords and not (peer and is_on_this_machine(peer[0]))

    async def _put(self, question: CheckPassword | BeginScram | FinishScram) -> ScramChallenge | ScramOutcome | str:
        context = CallContext(deadline=time.monotonic() + AUTH_TIMEOUT_MS / 1000)
        match question:
            case BeginScram(client_first):
                return await self._auth.scram_first(context, client_first)
            case FinishScram(exchange, client_final):
                return await self._auth.scram_final(context, exchange, client_final)
            case CheckPassword(password):
                # The key of the old handshakes, which name no user, is the password of `admin`.
                return await self._auth.password_login(context, ADMIN, password)
