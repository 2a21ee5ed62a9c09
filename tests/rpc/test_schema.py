"""The schemas are valid, and a program of another version understands this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import capnp
import pytest

from photondb.api.context import INTERNAL
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.rpc import schema
from photondb.rpc.client import RpcClient
from photondb.rpc.remote import Method
from photondb.rpc.servant import Call, servant
from photondb.rpc.versions import VERSION
from tests.rpc.probe import PROBE, Probe, ProbeStub, rpc_test, served

FILES = sorted(schema.DIRECTORY.glob("*.capnp"))


def test_there_is_a_file_for_each_service_that_others_call() -> None:
    names = {"auth", "changefeed", "common", "events", "query", "storage"}
    assert {path.stem for path in FILES} == names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_valid_by_itself(path: Path) -> None:
    """In a process of its own, because a mistake aborts it."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, capnp; capnp.remove_import_hook(); capnp.load(sys.argv[1])", path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_states_its_version_and_the_rule(path: Path) -> None:
    text = path.read_text()
    assert f"Version {VERSION}." in text
    assert "only ever extended" in text.lower()


def test_importing_the_schemas_leaves_no_import_hook() -> None:
    assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("capnp")]


def of_the_future(directory: Path) -> Any:
    """The probe's schema as a later version may have it: more fields, and one more method."""
    common = (schema.DIRECTORY / "common.capnp").read_text()
    context = common[common.index("struct Context {") : common.index("enum ErrorCategory")]
    common = common.replace("  user @3 :Text;", f"  user @3 :Text; tenant @{context.count(' @')} :Text;")
    common = common.replace("  requestId @6 :Text;", "  requestId @6 :Text; hint @7 :Text;")
    common = common.replace("  authenticationFailed @6;", "  authenticationFailed @6; paymentRequired @8;")
    assert "tenant" in common
    assert "hint" in common
    assert "paymentRequired" in common
    (directory / "common.capnp").write_text(common)

    probe = (Path(__file__).parent / "probe.capnp").read_text().replace('"/common.capnp"', '"common.capnp"')
    probe = probe.replace("batch :List(Data)) -> BatchResult;", "batch :List(Data), reversed :Bool) -> BatchResult;")
    probe = probe.replace("calls @3 :UInt32;", "calls @3 :UInt32; mood @4 :Text;")
    probe = probe.replace("struct BatchResult", "struct Moods { ok @0 :Text; }\nstruct BatchResult")
    probe = probe.replace("  blob @6", "  shout @7 (context :Common.Context, text :Text) -> Common.Done;\n  blob @6")
    assert "reversed" in probe
    assert "mood @4" in probe
    (directory / "probe.capnp").write_text(probe)
    # A parser of its own, because one parser has one definition for each id.
    return capnp.SchemaParser().load(str(directory / "probe.capnp"))


class NewProbe(Probe):
    """The service as it may be one day."""

    async def echo(self, call: Call) -> None:
        batch = list(call.params.batch)
        self.tenant = call._call.params.context.tenant
        call.results.ok = batch[::-1] if call.params.reversed else batch

    async def shout(self, call: Call) -> None:
        self.shouted = call.params.text
        call.results.ok = None

    async def counts(self, call: Call) -> None:
        call.results.ok = {"calls": 7, "mood": "good"}

    async def fail(self, call: Call) -> None:
        error = call.results.init("error")
        error.kind = 7_000_000
        error.message = "Pay first."
        error.responseType = 18
        error.category = "paymentRequired"
        error.hint = "with money"


@rpc_test
async def test_an_old_client_of_a_new_service(tmp_path: Path) -> None:
    new = of_the_future(tmp_path)
    probe = NewProbe()
    async with served(servant(new.Probe, probe), f"unix:{tmp_path}/probe") as address:
        stub = ProbeStub(address)
        assert await stub.echo(b"a", b"b") == [b"a", b"b"]
        assert probe.tenant == ""
        assert await stub.count("calls") == 7
        with pytest.raises(ReqlError, match="Pay first") as caught:
            await stub.fail("with an error of the future")
        assert type(caught.value) is ReqlError
        assert caught.value.kind is ErrorKind.INTERNAL
        await stub.close()


@rpc_test
async def test_a_new_client_of_an_old_service(tmp_path: Path) -> None:
    new = of_the_future(tmp_path)
    async with served(servant(PROBE.Probe, Probe()), f"unix:{tmp_path}/probe") as address:
        client = RpcClient("probe", new.Probe, address)
        response = await client.call(Method("echo"), INTERNAL, batch=[b"a", b"b"], reversed=True)
        assert list(response.ok) == [b"a", b"b"]
        counts = (await client.call(Method("counts"), INTERNAL)).ok
        assert (counts.calls, counts.mood) == (1, "")
        with pytest.raises(ReqlError, match="does not know `shout`: it is of an older version") as caught:
            await client.call(Method("shout"), INTERNAL, text="hello")
        assert caught.value.kind is ErrorKind.OP_FAILED
        with pytest.raises(ReqlError, match="Nothing there"):
            await client.call(Method("fail"), INTERNAL, how="reql")
        await client.close()


@rpc_test
async def test_new_client_and_new_service(tmp_path: Path) -> None:
    new = of_the_future(tmp_path)
    probe = NewProbe()
    async with served(servant(new.Probe, probe), f"unix:{tmp_path}/probe") as address:
        client = RpcClient("probe", new.Probe, address)
        response = await client.call(Method("echo"), INTERNAL, batch=[b"a", b"b"], reversed=True)
        assert list(response.ok) == [b"b", b"a"]
        await client.call(Method("shout"), INTERNAL, text="hello")
        assert probe.shouted == "hello"
        await client.close()
