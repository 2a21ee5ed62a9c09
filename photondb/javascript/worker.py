"""The worker process: evaluates scripts that it is sent, and is killed by the kernel when one takes too long.

It is run as a file by itself, isolated from the environment, and imports nothing of the project. Requests and answers
are frames on standard input and output: four bytes of length, then UTF-8. A request is a JSON object, an answer a
letter and text: V and the JSON of a value, F for a function, L for an array over the limit, E and the message of an
error.

A script sees the engine's own objects and nothing else. The process has no file or socket besides its pipes and cannot
open one, and what it may take of memory is limited twice, for the engine and for the process.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import resource
import signal
import struct
import sys
from typing import Any

MEMORY_LIMIT_BYTES = 64 * 2**20
"""What a script may take."""
PROCESS_MEMORY_BYTES = 512 * 2**20
"""What the process may take of address space, Python and the engine's code included."""
STACK_LIMIT_BYTES = 512 * 2**10

_LENGTH = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1

PRELUDE = r"""
(function () {
  // A script may change the engine's objects, so that what is needed of them is taken before it runs.
  const evaluate = (0, eval), world = globalThis, apply = Reflect.apply, toText = String;
  const {isArray} = Array, {parse, stringify} = JSON, finite = Number.isFinite;
  const {keys, getPrototypeOf, setPrototypeOf} = Object;
  const Moment = Date, moments = Date.prototype, getTime = Date.prototype.getTime, patterns = RegExp.prototype;
  const MAX_DEPTH = 500;
  let called = null;

  class Refusal { constructor(message) { this.message = message; } }
  const refuse = (message) => { throw new Refusal(message); };

  // A value as one that JSON can express, with dates as times. Nothing in it has a prototype that a script could reach.
  const outgoing = (value, limit, depth) => {
    if (depth > MAX_DEPTH) refuse("Recursion limit exceeded in js_to_json (circular reference?).");
    switch (typeof value) {
      case "string":
      case "boolean":
        return value;
      case "number":
        return finite(value) ? value : refuse("Number return value is not finite.");
      case "undefined":
        return refuse("Cannot convert javascript `undefined` to ql::datum_t.");
      case "function":
        return refuse("Cannot convert function to ql::datum_t.");
      case "object":
        break;
      default:
        return refuse("Unhandled value type when converting to ql::datum_t.");
    }
    if (value === null) return null;
    if (isArray(value)) {
      const {length} = value;
      if (length > limit) refuse(null);
      const out = setPrototypeOf([], null);
      for (let i = 0; i < length; i++) out[i] = outgoing(value[i], limit, depth + 1);
      return out;
    }
    const prototype = getPrototypeOf(value);
    if (prototype === patterns) refuse("Cannot convert RegExp to ql::datum_t.");
    if (prototype === moments) {
      const seconds = outgoing(apply(getTime, value, []), limit, depth) / 1000;
      return {__proto__: null, $reql_type$: "TIME", epoch_time: seconds, timezone: "+00:00"};
    }
    const out = {__proto__: null}, names = keys(value);
    for (let i = 0; i < names.length; i++) out[names[i]] = outgoing(value[names[i]], limit, depth + 1);
    return out;
  };

  const incoming = (_, value) =>
    value !== null && typeof value === "object" && value.$reql_type$ === "TIME"
      ? new Moment(value.epoch_time * 1000) : value;

  const started = (source) => {
    called = evaluate(source);
    return called;
  };

  return (command, text, limit) => {
    try {
      const value = command === "evaluate" ? started(text) : apply(called, world, parse(text, incoming));
      if (typeof value === "function") {
        if (command === "evaluate") return "F";
        refuse("Returning functions from within `r.js` is unsupported.");
      }
      return "V" + stringify(outgoing(value, limit, 1));
    } catch (error) {
      if (error instanceof Refusal) return error.message === null ? "L" : "E" + error.message;
      return "E" + (error === null ? "InternalError: out of memory" : toText(error));
    }
  };
})()
"""
"""Makes the function that evaluates a script and calls the function that the script gives."""


def main() -> None:
    """Answer requests until standard input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    scripts = _Scripts(importlib.import_module("quickjs"))
    _confine()
    while (header := sys.stdin.buffer.read(_LENGTH.size)) != b"":
        (length,) = _LENGTH.unpack(header)
        request = json.loads(sys.stdin.buffer.read(length))
        signal.setitimer(signal.ITIMER_REAL, request["timeout_ms"] / 1000)  # the alarm's default action is death
        answer = scripts.run(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        raw = answer.encode("utf-8", "surrogatepass")
        sys.stdout.buffer.write(_LENGTH.pack(len(raw)) + raw)
        sys.stdout.buffer.flush()


def _confine() -> None:
    """Give up what a script must not have even if it broke out of the engine."""
    for kind, limit in (
        (resource.RLIMIT_AS, PROCESS_MEMORY_BYTES),
        (resource.RLIMIT_NOFILE, 3),  # standard input, output and error
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


class _Scripts:
    """Runs scripts, and keeps the last one for more calls of the function that it gave."""

    def __init__(self, quickjs: Any) -> None:
        self._quickjs = quickjs
        self._current: tuple[str, str] | None = None
        self._work: Any = None

    def run(self, request: dict[str, Any]) -> str:
        """Evaluate the script of a request or, when there are `arguments`, call the function that it gives."""
        limit, arguments = request["array_limit"], request["arguments"]
        script = (request["session"], request["source"])
        try:
            if script != self._current:
                self._current, self._work = None, self._engine()
                answer: str = self._work("evaluate", request["source"], limit)
                if answer == "F":
                    self._current = script
                if answer != "F" or arguments is None:
                    return answer
            return str(self._work("call", arguments, limit))
        except (self._quickjs.JSException, UnicodeError) as error:
            self._current = None  # out of memory or of stack, the engine is in no state to go on
            return "E" + str(error).partition("\n")[0]

    def _engine(self) -> Any:
        context = self._quickjs.Context()
        context.set_memory_limit(MEMORY_LIMIT_BYTES)
        context.set_max_stack_size(STACK_LIMIT_BYTES)
        return context.eval(PRELUDE)


if __name__ == "__main__":
    main()
