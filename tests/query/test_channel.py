"""What a gateway sees of the query service: batches in, exactly one answer for each query out."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.api.query import Answer
from photondb.bus import LocalBus
from services.auth.service import Auth
from services.query.service import Query
from services.storage.service import Storage
from tests.query.conftest import Client
from tests.reql.evaluate import wire_term

USERS = r.table("users")


async def with_users(client: Client, count: int = 100) -> None:
    assert (await client.run(r.table_create("users")))["r"][0]["tables_created"] == 1
    rows = [{"id": number, "age": number % 10} for number in range(count)]
    assert (await client.run(USERS.insert(rows)))["r"][0]["inserted"] == count


async def test_every_query_of_a_batch_is_answered_once(client: Client) -> None:
    await with_users(client)
    term: list[Any] = [15, ["users"]]
    frames = [(token, [1, [16, [term, token]]]) for token in range(50)]
    frames += [(50 + token, [1, [53, [[16, [term, token]], {"seen": True}]]]) for token in range(50)]
    frames += [(100 + token, [1, [24, [token, 1]]]) for token in range(50)]
    frames += [(200, [1, [43, [term]]]), (201, [1, [16, [[15, ["missing"]], 1]]])]
    answers = await client.submit(*frames)
    async with asyncio.timeout(10):
        while len(answers) + len(client.answers) < len(frames):
            await asyncio.sleep(0.001)
    by_token = {answer.token: json.loads(answer.payload) for answer in [*answers, *client.answers]}
    assert len(by_token) == len(frames) == len(answers) + len(client.answers)
    assert all(by_token[token]["r"][0]["id"] == token for token in range(50))
    assert all(by_token[50 + token]["r"][0]["replaced"] == 1 for token in range(50))
    assert all(by_token[100 + token]["r"] == [token + 1] for token in range(50))
    assert by_token[200]["r"] == [100]
    assert by_token[201]["t"] == 18
    assert by_token[201]["r"] == ["Table `test.missing` does not exist."]


async def test_reads_are_answered_in_the_call_and_hard_writes_when_they_are_durable(client: Client) -> None:
    await with_users(client)
    answers = await client.submit((1, [1, [16, [[15, ["users"]], 1]]]), (2, [1, [54, [[16, [[15, ["users"]], 2]]]]]))
    assert [answer.token for answer in answers] == [1]


@pytest.mark.parametrize(
    ("payload", "kind", "message"),
    [
        (b"", 16, "Client is buggy (failed to deserialize query)."),
        (b"{}", 16, "Expected a query of the form [type, term, options]."),
        (b"[]", 16, "Expected a query of the form [type, term, options]."),
        (b"[1]", 16, "A START query must have a term."),
        (b"[1,2,3]", 16, "Expected the options of a query to be an OBJECT."),
        (b"[9]", 16, "Unrecognized query type: 9."),
        (b"[2]", 16, "Token 7 not in stream cache."),
        (b"[" * 5000, 16, "The query is nested too deeply."),
        (b'[1,"\xff"]', 16, "Client is buggy (failed to deserialize query)."),
        (b"[1,[99999]]", 17, "Unrecognized TermType: 99999."),
        (b'[1,1,{"nonsense":1}]', 17, "Unrecognized global optional argument `nonsense`."),
        (b'[1,1,{"array_limit":0}]', 18, "Illegal array size limit `0`.  (Must be >= 1.)"),
        (b"[1,[12,[]]]", 18, "Empty ERROR term outside a default block."),
    ],
)
async def test_bad_frames_get_a_clear_error(client: Client, payload: bytes, kind: int, message: str) -> None:
    (answer,) = await client.submit((7, payload))
    response = json.loads(answer.payload)
    assert (response["t"], response["r"]) == (kind, [message])


async def test_errors_say_where_they_stand(client: Client) -> None:
    response = await client.run(r.expr([1, 2]).map(lambda x: x + {"a": x.upcase()}))
    assert response["t"] == 18
    assert response["e"] == 3000000
    assert response["b"] == [1, 1, 1, "a", 0]


async def test_a_cursor_hands_out_every_row_once_and_then_ends(client: Client) -> None:
    await with_users(client)
    response = await client.run(USERS, token=5, max_batch_rows=30)
    rows = response["r"]
    sizes = [len(rows)]
    while response["t"] == 3:
        response = await client.ask(5, [2])
        rows += response["r"]
        sizes.append(len(response["r"]))
    assert sizes == [7, 30, 30, 30, 3]
    assert sorted(row["id"] for row in rows) == list(range(100))
    assert (await client.ask(5, [2]))["r"] == ["Token 5 not in stream cache."]


async def test_a_cursor_sees_one_point_in_time(client: Client) -> None:
    await with_users(client)
    response = await client.run(USERS, token=5, max_batch_rows=10)
    await client.run(USERS.delete())
    rows = response["r"]
    while response["t"] == 3:
        response = await client.ask(5, [2])
        rows += response["r"]
    assert len(rows) == 100


async def test_stop_ends_a_cursor(client: Client) -> None:
    await with_users(client)
    await client.run(USERS, token=5, max_batch_rows=10)
    assert (await client.ask(5, [3]))["t"] == 2
    assert (await client.ask(5, [2]))["t"] == 16
    assert client.channel.sessions[1].cursors == {}


async def test_a_token_in_use_is_refused(client: Client) -> None:
    await with_users(client)
    await client.run(USERS, token=5, max_batch_rows=10)
    response = await client.run(r.expr(1).add(1), token=5)
    assert response["r"] == ["ERROR: duplicate token 5"]


async def test_a_connection_that_ends_frees_its_cursors(client: Client) -> None:
    await with_users(client)
    for token in range(10):
        await client.run(USERS, token=token, max_batch_rows=10)
    assert len(client.channel.sessions[1].cursors) == 10
    await client.end_session()
    assert client.channel.sessions == {}


async def test_a_channel_that_is_dropped_is_forgotten(client: Client) -> None:
    await with_users(client)
    await client.run(USERS, max_batch_rows=10)
    assert len(client.query.channels) == 1
    del client.channel
    gc.collect()
    assert len(client.query.channels) == 0


async def test_noreply_queries_have_empty_answers_and_can_be_waited_for(client: Client) -> None:
    await with_users(client)
    for token in range(20):
        term = [53, [[16, [[15, ["users"]], token]], {"noreply": True}]]
        await client.submit((token, [1, term, {"noreply": True}]))
    await client.submit((30, [1, [12, ["fails"]], {"noreply": True}]))
    assert (await client.ask(100, [4]))["t"] == 4
    response = await client.run(USERS.filter({"noreply": True}).count())
    assert response["r"] == [20]
    assert all(answer.payload == b"" for answer in client.answers if answer.token <= 30)


async def test_the_server_tells_who_it_is(client: Client) -> None:
    (info,) = (await client.ask(1, [5]))["r"]
    assert info["proxy"] is False
    assert info["id"] == client.query.server_id


async def test_a_plan_is_compiled_once_for_all_constants(client: Client) -> None:
    await with_users(client)
    before = client.query.plans.misses
    for number in range(20):
        response = await client.run(USERS.filter(r.row["age"] == number).count())
        assert response["r"] == [10 if number < 10 else 0]
    assert client.query.plans.misses == before + 1


async def test_no_way_of_naming_a_table_leads_to_the_accounts(client: Client) -> None:
    auth = Auth(client.query.storage)
    await auth.start()
    await auth.stop()
    catalogue = await client.query.refresh_catalogue()
    assert ("rethinkdb", "_accounts") in catalogue.tables
    named = r.db("rethinkdb").table("_accounts")
    unnamed = r.table("_accounts")
    for table, options in ((named, {}), (unnamed, {"db": [14, ["rethinkdb"]]})):
        for query in (table.get("admin"), table.get("admin").delete(), table.insert({"id": "x"}), table, table.count()):
            response = await client.run(query, **options)
            assert response["t"] == 18, response
            assert response["r"] == ["Table `rethinkdb._accounts` does not exist."]


async def test_the_database_option_names_where_tables_are(client: Client) -> None:
    await client.run(r.db_create("other"))
    await client.run(r.db("other").table_create("users"))
    option = [14, ["other"]]
    assert (await client.run(USERS.insert({"id": 1}), db=option))["r"][0]["inserted"] == 1
    assert (await client.run(USERS.get(1), db=option))["r"] == [{"id": 1}]
    assert (await client.run(USERS.get(1)))["r"] == ["Table `test.users` does not exist."]


async def test_a_table_that_comes_back_under_its_name_is_found(client: Client) -> None:
    await with_users(client)
    await client.run(r.table_drop("users"))
    assert (await client.run(USERS.get(1)))["r"] == ["Table `test.users` does not exist."]
    await with_users(client, 3)
    assert (await client.run(USERS.get(1)))["r"] == [{"id": 1, "age": 1}]


async def test_a_profile_is_the_tree_of_what_was_evaluated(client: Client) -> None:
    await with_users(client)
    response = await client.run(USERS.filter(lambda user: user["age"] == 1).count(), profile=True)
    assert response["r"] == [10]
    (task,) = response["p"]
    assert task["description"] == "Evaluating count."
    read = next(part for part in task["sub_tasks"] if part["description"] == "Perform read.")
    (predicate,) = [part for part in read["sub_tasks"] if part["description"] == "Evaluating eq."]
    assert predicate["sub_tasks"][0]["n_samples"] == 100
    assert task["duration(ms)"] >= read["duration(ms)"] >= predicate["duration(ms)"] > 0
    failed = await client.run(USERS.get(1)["nothing"], profile=True)
    assert failed["t"] == 18
    assert failed["p"]


def counting(number: int) -> list[Any]:
    """A query that takes a moment: many of them do not fit into one turn."""
    return [1, wire_term(r.range(5000).map(lambda x: x + number).sum()), {}]


async def everything(client: Client, first: list[Answer], wanted: int) -> list[Answer]:
    """The answers that came at once, and all that come later."""
    for _ in range(10_000):
        if len(first) + len(client.answers) >= wanted:
            break
        await asyncio.sleep(0.001)
    return [*first, *client.answers]


async def test_what_does_not_fit_into_a_turn_is_answered_in_later_ones(client: Client) -> None:
    first = await client.submit(*[(token, counting(token)) for token in range(60)])
    assert len(first) < 60
    more = await client.submit((100, counting(1)), (101, [1, 7, {}]))
    answers = await everything(client, [*first, *more], 62)
    assert sorted(answer.token for answer in answers) == [*range(60), 100, 101]
    assert not client.channel.backlog


async def test_a_query_that_waits_for_its_turn_can_be_stopped(client: Client) -> None:
    endless = [1, wire_term(r.range()), {}]
    first = await client.submit(*[(token, counting(token)) for token in range(60)], (60, endless))
    stopped = await client.submit((60, [3]))
    assert stopped == []
    answers = await everything(client, first, 62)
    assert sorted(answer.token for answer in answers) == [*range(61), 60]
    assert [json.loads(answer.payload)["t"] for answer in answers if answer.token == 60][-1] == 2
    assert client.channel.sessions[1].cursors == {}
    assert client.channel.sessions[1].running == {}


async def test_what_waits_for_its_turn_is_dropped_when_the_client_goes(client: Client) -> None:
    await client.submit(*[(token, counting(token)) for token in range(60)], session=1)
    await client.submit((7, counting(1)), session=2)
    assert client.channel.backlog
    await client.end_session(1)
    while client.channel.backlog:
        await asyncio.sleep(0)
    answers = await everything(client, [], 1)
    assert 1 not in client.channel.sessions
    assert [answer.token for answer in answers if answer.session == 2] == [7]


async def test_what_is_released_after_the_end_asks_nothing_of_a_loop_that_may_be_gone(tmp_path: Path) -> None:
    bus = LocalBus()
    storage = Storage(tmp_path / "data", bus)
    await storage.start()
    query = Query(storage, bus)
    await query.start()
    closed = []

    class Opened:
        async def close(self) -> None:
            closed.append(self)

    query.release(Opened())
    await query.stop()
    assert len(closed) == 1
    query.release(Opened())
    await asyncio.sleep(0)
    assert len(closed) == 1
    await storage.stop()
    await bus.close()


async def test_a_cursor_that_is_collected_in_another_thread_is_closed(client: Client) -> None:
    """Python's collector runs where it likes, and ends the streams that an error has kept alive."""
    closed = asyncio.Event()

    class Opened:
        async def close(self) -> None:
            closed.set()

    await asyncio.to_thread(client.query.release, Opened())
    await asyncio.wait_for(closed.wait(), 120)
