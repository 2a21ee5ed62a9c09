"""A gateway's channel: batches of queries come in, answers go out as they are ready.

What arrived together is looked at together. Point writes begin first (storage commits them as one), point reads become
one multi-get, and everything else is run query by query, each in an evaluation that may wait without holding up the
others.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from photondb.api.catalogue import TableInfo
from photondb.api.context import INTERNAL
from photondb.api.query import Answer, AnswerSink, Request
from photondb.api.storage import TableGone, Write, WriteSummary
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps
from photondb.reql.errors import ClientError, ErrorKind, ReqlError, op_failed
from photondb.reql.function import Frame
from photondb.reql.parameters import reql_error
from photondb.reql.shape import Shaper
from photondb.reql.suspend import Evaluation
from photondb.reql.wire import QueryType
from photondb.reql.write_summary import summary_json
from photondb.rpc.eager import start_eagerly
from services.query import responses
from services.query.cursors import Cursor
from services.query.execution import execute
from services.query.options import NO_OPTIONS, RunOptions, read_options
from services.query.plans import Plan
from services.query.sessions import MAX_CURSORS, Session

if TYPE_CHECKING:
    from services.query.service import Query

logger = logging.getLogger(__name__)

NO_ANSWER = b""
"""The answer to a noreply query: the gateway keeps it to itself."""


class Channel:
    """One gateway's channel (QueryChannel)."""

    def __init__(self, service: Query, sink: AnswerSink) -> None:
        self.service = service
        self.sink = sink
        self.sessions: dict[int, Session] = {}
        self.closed = False
        self._ready: list[Answer] = []
        self._delivering = False

    async def submit(self, requests: Sequence[Request]) -> list[Answer]:
        """Take the queries and return the answers that are ready at once."""
        batch = _Batch(self)
        for request in requests:
            batch.take(request)
        batch.start_writes()
        await batch.read()
        if batch.answers and batch.others:
            # What may take long must not hold up the reads that are answered already.
            asyncio.get_running_loop().call_soon(self._run_later, batch.others)
        else:
            for start in batch.others:
                answer = start()
                if answer is not None:
                    batch.answers.append(answer)
        return batch.answers

    def _run_later(self, others: list[Callable[[], Answer | None]]) -> None:
        for start in others:
            answer = start()
            if answer is not None:
                self.send_later([answer])

    async def close(self) -> None:
        """End all sessions."""
        self.closed = True
        for session in self.sessions.values():
            session.end()
        self.sessions.clear()
        self.service.channels.discard(self)

    def __del__(self) -> None:
        if not self.closed:
            for session in self.sessions.values():
                session.end()

    def session(self, number: int) -> Session:
        """The session of that number."""
        session = self.sessions.get(number)
        if session is None:
            session = self.sessions[number] = Session(number)
        return session

    def end_session(self, number: int) -> None:
        """A client connection is gone."""
        session = self.sessions.pop(number, None)
        if session is not None:
            session.end()

    # --- answers that were not ready at once

    def send_later(self, answers: Sequence[Answer]) -> None:
        """Give answers to the sink, together with whatever else becomes ready in this turn of the loop."""
        self._ready.extend(answers)
        if not self._delivering and not self.closed:
            self._delivering = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        task = start_eagerly(self._deliver_all()).task
        if task is not None:
            self.service.keep(task)

    async def _deliver_all(self) -> None:
        try:
            while self._ready and not self.closed:
                answers, self._ready = self._ready, []
                await self.sink.deliver(answers)
        finally:
            self._delivering = False


class _Batch:
    """The queries of one `submit`, sorted by what they need."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.service = channel.service
        self.answers: list[Answer] = []
        self.others: list[Callable[[], Answer | None]] = []
        self.reads: list[tuple[Request, Plan, Frame, RunOptions]] = []
        self.read_keys: list[tuple[int, bytes]] = []
        self.writes: list[tuple[Request, TableInfo, RunOptions, list[str]]] = []
        self.write_statements: list[Write] = []

    def take(self, request: Request) -> None:
        """Sort a request in. An error becomes its answer."""
        if request.kind == "end_session":
            self.channel.end_session(request.session)
            return
        try:
            self._take_query(request, _envelope(request.payload))
        except ReqlError as error:
            self.answers.append(Answer(request.session, request.token, responses.failure(error)))

    def _take_query(self, request: Request, envelope: list[Any]) -> None:
        kind = envelope[0]
        if kind == 1:
            self._take_start(request, envelope)
        elif kind == QueryType.CONTINUE:
            self.others.append(functools.partial(_continue, self.channel, request))
        elif kind == QueryType.STOP:
            self.answers.append(_stop(self.channel, request))
        elif kind == QueryType.NOREPLY_WAIT:
            self.others.append(functools.partial(_noreply_wait, self.channel, request))
        elif kind == QueryType.SERVER_INFO:
            info = responses.server_info(self.service.server_id, self.service.server_name)
            self.answers.append(Answer(request.session, request.token, info))
        else:
            raise ClientError(f"Unrecognized query type: {kind!r}.")

    def _take_start(self, request: Request, envelope: list[Any]) -> None:
        if len(envelope) < 2:
            raise ClientError("A START query must have a term.")
        given = envelope[2] if len(envelope) > 2 else None
        options = read_options(given) if given else NO_OPTIONS
        try:
            service = self.service
            names = options.plan_names
            shaper = Shaper(service.now(), "array_limit" not in names)
            shape = shaper.shape(envelope[1])
            plan = service.plans.plan(shaper, shape, names)
            runtime = service.runtime(request.context, options)
            frame = plan.frame(runtime, shaper.constants)
            fast = runtime.permit is None  # a check of permissions may have to wait for `auth`
            if fast and plan.read is not None and self._take_read(request, plan, frame, options):
                return
            if fast and plan.write is not None and self._take_write(request, plan, frame, options):
                return
            self.others.append(functools.partial(_start, self.channel, request, plan, frame, options))
        except (ReqlError, DatumError) as error:
            if not options.noreply:
                raise reql_error(error, ()) if isinstance(error, DatumError) else error from None
            self.answers.append(Answer(request.session, request.token, NO_ANSWER))

    def _take_read(self, request: Request, plan: Plan, frame: Frame, options: RunOptions) -> bool:
        assert plan.read is not None
        info = plan.read.table.find(self.service.catalogue)
        if info is None:
            return False  # the evaluator looks again, and says what is wrong
        try:
            key = plan.read.key(frame)
        except DatumError:
            return False
        self.reads.append((request, plan, frame, options))
        self.read_keys.append((info.id, key))
        return True

    def _take_write(self, request: Request, plan: Plan, frame: Frame, options: RunOptions) -> bool:
        assert plan.write is not None
        info = plan.write.table.find(self.service.catalogue)
        if info is None:
            return False
        try:
            statement, keys = plan.write.write(frame, info, options.language.get("durability"))
        except (DatumError, ReqlError):
            return False  # the evaluator finds the same, and says it with its place in the query
        self.writes.append((request, info, options, keys))
        self.write_statements.append(statement)
        return True

    # --- writes

    def start_writes(self) -> None:
        """Begin the commit of all point writes; they are answered when they are durable."""
        if not self.writes:
            return
        started = start_eagerly(self._write())
        if started.task is not None:
            self.service.keep(started.task)
            for request, _, options, _ in self.writes:
                if options.noreply:
                    session = self.channel.session(request.session)
                    session.noreply.add(started.task)
                    started.task.add_done_callback(session.noreply.discard)

    async def _write(self) -> None:
        try:
            outcomes: Sequence[WriteSummary | Exception] = await self.service.storage.write(
                INTERNAL, self.write_statements
            )
        except ReqlError as error:
            outcomes = [error] * len(self.writes)
        except Exception as error:
            outcomes = [internal_error(error)] * len(self.writes)
        answers = []
        for (request, info, options, keys), outcome in zip(self.writes, outcomes, strict=True):
            if options.noreply:
                payload = NO_ANSWER
            elif isinstance(outcome, WriteSummary):
                if keys:
                    outcome.generated_keys = list(keys)
                payload = responses.raw_atom(summary_json(outcome))
            elif isinstance(outcome, TableGone):
                payload = responses.failure(op_failed(f"Table `{info.database}.{info.name}` does not exist."))
            else:
                payload = responses.failure(outcome if isinstance(outcome, ReqlError) else internal_error(outcome))
            answers.append(Answer(request.session, request.token, payload))
        self.channel.send_later(answers)

    # --- reads

    async def read(self) -> None:
        """One multi-get for all point reads, and their answers."""
        if not self.reads:
            return
        try:
            found = await self.service.storage.get(INTERNAL, self.read_keys)
        except TableGone:
            await self.service.refresh_catalogue()
            self.others.extend(functools.partial(_start, self.channel, *entry) for entry in self.reads)
            return
        except ReqlError as error:
            payload = responses.failure(error)
            self.answers.extend(Answer(entry[0].session, entry[0].token, payload) for entry in self.reads)
            return
        append = self.answers.append
        for (request, plan, frame, options), raw in zip(self.reads, found, strict=True):
            if options.noreply:
                payload = NO_ANSWER
            elif plan.read.then is None:  # type: ignore[union-attr]
                payload = responses.raw_atom(raw)
            else:
                payload = _read_result(plan, frame, raw)
            append(Answer(request.session, request.token, payload))


def _read_result(plan: Plan, frame: Frame, raw: bytes | None) -> bytes:
    assert plan.read is not None
    try:
        return b'{"t":1,"r":[' + dumps(responses.result_datum(plan.read.value(frame, raw))) + b"]}"
    except ReqlError as error:
        return responses.failure(error)
    except Exception as error:
        return responses.failure(internal_error(error))


def _envelope(payload: bytes) -> list[Any]:
    """The [type, term, options] of a frame, checked."""
    try:
        envelope = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        if "ecursion" in str(error):
            raise ClientError("The query is nested too deeply.") from None
        raise ClientError("Client is buggy (failed to deserialize query).") from None
    if type(envelope) is not list or not envelope or type(envelope[0]) is not int or len(envelope) > 3:
        raise ClientError("Expected a query of the form [type, term, options].")
    if len(envelope) == 3 and type(envelope[2]) is not dict:
        raise ClientError("Expected the options of a query to be an OBJECT.")
    return envelope


# --- everything that is no point read or write


def _start(channel: Channel, request: Request, plan: Plan, frame: Frame, options: RunOptions) -> Answer | None:
    """Run a query up to where it first waits: its answer, or None when that comes later."""
    session = channel.session(request.session)
    token = request.token
    if token in session.cursors or token in session.running:
        error = ClientError(f"ERROR: duplicate token {token}")
        return Answer(request.session, token, responses.failure(error))

    def finish(result: tuple[bytes, Cursor | None]) -> bytes:
        payload, cursor = result
        if cursor is not None:
            if options.noreply or request.session not in channel.sessions or len(session.cursors) >= MAX_CURSORS:
                cursor.close()
                if len(session.cursors) >= MAX_CURSORS:
                    return responses.failure(op_failed(f"A connection may have {MAX_CURSORS} open cursors."))
            else:
                session.cursors[token] = cursor
        return NO_ANSWER if options.noreply else payload

    return _evaluate(channel, session, token, options.noreply, finish, execute, plan, frame, options)


def _continue(channel: Channel, request: Request) -> Answer | None:
    """The next batch of a cursor."""
    session = channel.session(request.session)
    token = request.token
    cursor = session.cursors.get(token)
    if cursor is None or token in session.running:
        error = ClientError(f"Token {token} not in stream cache.")
        return Answer(request.session, token, responses.failure(error))

    def finish(payload: bytes) -> bytes:
        if cursor.ended:
            session.cursors.pop(token, None)
        return payload

    return _evaluate(channel, session, token, False, finish, cursor.next_response)


def _evaluate(
    channel: Channel,
    session: Session,
    token: int,
    noreply: bool,
    finish: Callable[[Any], bytes],
    function: Callable[..., Any],
    *args: Any,
) -> Answer | None:
    evaluation = Evaluation().begin(function, *args)

    def outcome() -> bytes:
        try:
            return finish(evaluation.result())
        except Exception as error:
            cursor = session.cursors.pop(token, None)
            if cursor is not None:
                cursor.close()
            return NO_ANSWER if noreply else responses.failure(as_reql_error(error))

    if evaluation.finished:
        return Answer(session.number, token, outcome())

    async def carry_on() -> None:
        try:
            await evaluation.complete()
        except asyncio.CancelledError:
            if session.running.get(token) is task:
                raise  # the session ended
        except Exception:  # `outcome` reports it
            pass
        if session.running.get(token) is task:
            del session.running[token]
            channel.send_later([Answer(session.number, token, outcome())])

    task = asyncio.get_running_loop().create_task(carry_on())
    session.running[token] = task
    if noreply:
        session.noreply.add(task)
        task.add_done_callback(session.noreply.discard)
    return None


def _stop(channel: Channel, request: Request) -> Answer:
    """End a query. A batch of it that is being fetched is answered as the empty end of the sequence, too."""
    session = channel.session(request.session)
    task = session.running.pop(request.token, None)
    cursor = session.cursors.pop(request.token, None)
    if task is not None:
        task.cancel()
        channel.send_later([Answer(request.session, request.token, responses.END_OF_SEQUENCE)])
    if cursor is not None and task is None:
        cursor.close()
    return Answer(request.session, request.token, responses.END_OF_SEQUENCE)


def _noreply_wait(channel: Channel, request: Request) -> Answer | None:
    """Answer when all noreply queries that came before have been carried out."""
    session = channel.session(request.session)
    answer = Answer(request.session, request.token, responses.WAIT_COMPLETE)
    pending = [task for task in session.noreply if not task.done()]
    if not pending:
        return answer

    async def wait_for_all() -> None:
        await asyncio.gather(*pending, return_exceptions=True)
        channel.send_later([answer])

    channel.service.keep(asyncio.get_running_loop().create_task(wait_for_all()))
    return None


# --- errors


def as_reql_error(error: BaseException) -> ReqlError:
    """Any exception as what a client is told."""
    if isinstance(error, ReqlError):
        return error
    if isinstance(error, DatumError):
        return reql_error(error, ())
    if isinstance(error, RecursionError):
        return ReqlError(ErrorKind.RESOURCE_LIMIT, "The query needs too much stack: it is nested too deeply.", ())
    if isinstance(error, MemoryError):
        return ReqlError(ErrorKind.RESOURCE_LIMIT, "The query needs too much memory.", ())
    return internal_error(error)


def internal_error(error: BaseException) -> ReqlError:
    """A defect of ours: the log has it with its traceback, the client is told where to look."""
    request_id = uuid.uuid4().hex[:16]
    logger.error("a query failed", exc_info=error, extra={"request_id": request_id})
    return ReqlError(
        ErrorKind.INTERNAL, f"Internal error. The server's log has the details under request id {request_id}.", ()
    )


__all__ = ["Channel", "as_reql_error"]
