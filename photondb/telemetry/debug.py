"""`/_debug/`: what admins may look at in a running process."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from photondb.telemetry.access import AuthSource, for_admin
from photondb.telemetry.controls import controls
from photondb.telemetry.log_levels import log_levels, set_log_level
from photondb.telemetry.memory_snapshot import AlreadyWatching, memory_snapshot
from photondb.telemetry.profiling import MEDIA_TYPES, AlreadyProfiling, Clock, Format, profile
from photondb.telemetry.stacks import stacks

DEBUG_PATH = "/_debug"

DEFAULT_SECONDS = 5.0
MAX_SECONDS = 60.0

Report = Callable[[], Any]
"""Says how something is at the moment, as JSON."""

_PAGES = {
    "profile": "where the CPU time goes: ?seconds=5 (up to 60), &format=html, speedscope or text, &clock=cpu or wall",
    "memory": "what allocates memory: ?seconds=5 (up to 60), &top=30, &frames=5, &objects=1 to count objects by type",
    "stacks": "where threads, tasks and suspended evaluations are",
    "controls": "what counts as slow and what is traced; PATCH {slow_query_ms, trace_ratio} changes it",
    "log_levels": "what is logged; PUT {level, logger} changes it",
}


def debug_routes(process: str, reports: Mapping[str, Report], auth: AuthSource) -> list[Route]:
    """The routes, for `admin` only. `reports` may grow later."""

    async def index(request: Request) -> Response:
        pages = {name: f"{DEBUG_PATH}/{name}" for name in reports} | {
            name: f"{DEBUG_PATH}/{name}: {meaning}" for name, meaning in _PAGES.items()
        }
        return _json({"process": process, "pages": pages})

    async def report(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in reports:
            raise HTTPException(404, "There is no such page.")
        return _json(reports[name]())

    def page(path: str, endpoint: Callable[[Request], Awaitable[Response]], methods: Sequence[str] = ("GET",)) -> Route:
        return Route(f"{DEBUG_PATH}{path}", for_admin(auth, endpoint), methods=list(methods))

    return [
        page("", index),
        page("/", index),
        page("/profile", _profile),
        page("/memory", _memory),
        page("/stacks", _stacks),
        page("/controls", controls, ("GET", "PATCH")),
        page("/log_levels", _log_levels, ("GET", "PUT")),
        page("/{name}", report),
    ]


async def _profile(request: Request) -> Response:
    output: Format = _one_of(request, "format", ("html", "speedscope", "text"))
    clock: Clock = _one_of(request, "clock", ("cpu", "wall"))
    try:
        page = await profile(_number(request, "seconds", DEFAULT_SECONDS, 0.1, MAX_SECONDS), output, clock)
    except AlreadyProfiling:
        raise HTTPException(409, "Somebody else takes a profile at the moment. Try again later.") from None
    return Response(page, media_type=MEDIA_TYPES[output])


async def _memory(request: Request) -> Response:
    try:
        report = await memory_snapshot(
            _number(request, "seconds", DEFAULT_SECONDS, 0.1, MAX_SECONDS),
            int(_number(request, "top", 30, 1, 500)),
            int(_number(request, "frames", 5, 1, 25)),
            _number(request, "objects", 0, 0, 1) == 1,
        )
    except AlreadyWatching:
        raise HTTPException(409, "Somebody else looks at the memory at the moment. Try again later.") from None
    return _json(report)


async def _stacks(request: Request) -> Response:
    return _json(stacks())


async def _log_levels(request: Request) -> Response:
    if request.method == "PUT":
        try:
            change = json.loads(await request.body())
            set_log_level(change if isinstance(change, dict) else {})
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
    return _json(log_levels())


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_INDENT_2, default=str), media_type=JSONResponse.media_type)


def _number(request: Request, name: str, default: float, low: float, high: float) -> float:
    """A parameter of the request. Raises HTTPException."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise HTTPException(400, f"`{name}` must be a number from {low:g} to {high:g}.")
    return value


def _one_of(request: Request, name: str, choices: Sequence[Any]) -> Any:
    """A parameter of the request, by default the first choice. Raises HTTPException."""
    value = request.query_params.get(name, choices[0])
    if value not in choices:
        raise HTTPException(400, f"`{name}` must be one of {', '.join(choices)}.")
    return value
