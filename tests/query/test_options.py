"""What run options do, and how those are refused that make no sense."""

from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.chunk import Chunk
from photondb.reql.errors import CompileError, ErrorKind, ReqlError
from services.query.batching import BatchLimits, read_batching
from services.query.options import NO_OPTIONS, read_options
from tests.query.conftest import Client

ROW = {"id": 0, "text": "x" * 81}  # 100 bytes of JSON with the comma behind it


async def batch_sizes(client: Client, query: Any, **options: Any) -> list[int]:
    """How many rows each batch of a query has."""
    response = await client.run(query, token=5, **options)
    sizes = [len(response["r"])]
    while response["t"] == 3:
        response = await client.ask(5, [2])
        sizes.append(len(response["r"]))
    assert response["t"] == 2, response
    return sizes


def rows(count: int) -> Any:
    """A stream of so many rows of 100 bytes."""
    return r.range(count).map(lambda number: {"id": number % 10, "text": ROW["text"]})


async def test_batches_have_at_most_so_many_rows_and_the_first_one_a_quarter_of_that(client: Client) -> None:
    assert await batch_sizes(client, rows(100), max_batch_rows=40) == [10, 40, 40, 10]


async def test_the_first_batch_may_be_as_large_as_the_others(client: Client) -> None:
    sizes = await batch_sizes(client, rows(100), max_batch_rows=40, first_batch_scaledown_factor=1)
    assert sizes == [40, 40, 20]


async def test_batches_end_when_they_have_so_many_bytes(client: Client) -> None:
    sizes = await batch_sizes(client, rows(100), max_batch_bytes=4000, first_batch_scaledown_factor=2)
    assert sizes == [20, 40, 40, 0]


async def test_a_batch_has_its_least_number_of_rows_however_large_they_are(client: Client) -> None:
    options = {"max_batch_bytes": 100, "min_batch_rows": 30, "first_batch_scaledown_factor": 3}
    assert await batch_sizes(client, rows(100), **options) == [10, 30, 30, 30, 0]


async def test_a_batch_has_at_least_one_row_even_when_there_is_no_time(client: Client) -> None:
    sizes = await batch_sizes(client, rows(3000), max_batch_seconds=0)
    assert sum(sizes) == 3000
    assert len(sizes) > 1
    assert all(sizes[:-1])


async def test_without_options_batches_have_a_megabyte(client: Client) -> None:
    sizes = await batch_sizes(client, rows(30_000), max_batch_seconds=60)  # on a busy machine half a second is little
    assert sizes[0] == 2622
    assert sizes[1] == 10_486
    assert sum(sizes) == 30_000


async def test_tables_are_read_in_such_batches_too(client: Client) -> None:
    await client.run(r.table_create("t"))
    await client.run(r.table("t").insert([{"id": number} for number in range(50)]))
    assert await batch_sizes(client, r.table("t"), max_batch_rows=20, first_batch_scaledown_factor=2) == [10, 20, 20]


def test_rows_of_a_chunk_are_counted_out_by_bytes() -> None:
    limits = BatchLimits(min_rows=2, max_rows=5, max_bytes=250, max_seconds=1.0)
    chunk = Chunk.of_values([ROW] * 10)
    assert limits.fitting(chunk, 0, 0) == 3
    assert limits.fitting(chunk, 0, 240) == 2
    assert limits.fitting(chunk, 3, 100) == 2
    assert limits.fitting(Chunk.of_values([1] * 10), 0, 0) == 5
    assert limits.fitting(Chunk.of_values([1]), 0, 0) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_rows": 0}, "max_batch_rows must be positive (got `0`)."),
        ({"min_batch_rows": -1}, "min_batch_rows must be positive (got `-1`)."),
        ({"max_batch_bytes": "many"}, "Expected type NUMBER but found STRING."),
        ({"max_batch_rows": 1.5}, "Number not an integer: 1.5"),
        ({"first_batch_scaledown_factor": 0}, "first_batch_scaledown_factor must be positive (got `0`)."),
        ({"max_batch_seconds": 86400}, "max_batch_seconds is too large (got `86400`, must be less than `86400`)."),
        ({"max_batch_seconds": -0.5}, "max_batch_seconds must be positive (got `-0.5`)."),
        ({"max_batch_seconds": None}, "Expected type NUMBER but found NULL."),
    ],
)
async def test_batch_sizes_that_make_no_sense_matter_where_there_are_batches(
    client: Client, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReqlError) as caught:
        read_batching(options)
    assert caught.value.message == message
    response = await client.run(r.range(3), **options)
    assert (response["t"], response["r"]) == (18, [message])
    assert (await client.run(r.expr(1), **options))["r"] == [1]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"array_limit": 0}, ErrorKind.LOGIC, "Illegal array size limit `0`.  (Must be >= 1.)"),
        ({"array_limit": "many"}, ErrorKind.LOGIC, "Expected type NUMBER but found STRING."),
        ({"array_limit": None}, ErrorKind.NON_EXISTENCE, "Expected type NUMBER but found NULL."),
        ({"array_limit": 2.5}, ErrorKind.LOGIC, "Number not an integer: 2.5"),
        ({"array_limit": [27, [1, 2]]}, ErrorKind.LOGIC, "Number not an integer: 0.5"),
        (
            {"durability": [15, ["t"]]},
            ErrorKind.LOGIC,
            "The run option `durability` must be a value that depends on nothing.",
        ),
    ],
)
def test_options_of_the_wrong_type_are_refused(options: dict[str, Any], kind: ErrorKind, message: str) -> None:
    with pytest.raises(ReqlError) as caught:
        read_options(options)
    assert (caught.value.kind, caught.value.message) == (kind, message)


@pytest.mark.parametrize("name", ["nonsense", "max_rows", "_NO_RECURSE_", ""])
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(CompileError) as caught:
        read_options({name: 1})
    assert caught.value.message == f"Unrecognized global optional argument `{name}`."


async def test_an_array_limit_is_kept_to_everywhere(client: Client) -> None:
    message = (
        "Array over size limit `3`.  To raise the number of allowed elements, modify the `array_limit` option to "
        "`.run` (not available in the Data Explorer), or use an index."
    )
    await client.run(r.table_create("t"))
    await client.run(r.table("t").insert([{"id": number} for number in range(4)]))
    for query in (
        r.expr([1, 2, 3, 4]),
        r.expr([1, 2]).add([3, 4]),
        r.table("t").order_by("id"),
        r.table("t").coerce_to("array"),
        r.table("t").map(lambda row: r.expr([1, 2]).add([3, row["id"]])),
    ):
        response = await client.run(query, array_limit=3)
        assert (response["t"], response["e"], response["r"]) == (18, 2000000, [message])
        response = await client.run(query, array_limit=4)
        assert response["t"] in (1, 2)
    assert len((await client.run(r.range(100_001).coerce_to("array"), array_limit=200_000))["r"][0]) == 100_001


async def test_options_are_terms_too(client: Client) -> None:
    limit = [24, [1, 2]]
    assert (await client.run(r.expr([1, 2, 3]), array_limit=limit))["t"] == 1
    assert (await client.run(r.expr([1, 2, 3, 4]), array_limit=limit))["t"] == 18
    assert (await client.run(r.expr(1), array_limit=[1, 5]))["t"] == 1


async def test_a_database_is_the_one_of_tables_without_any(client: Client) -> None:
    await client.run(r.db_create("other"))
    await client.run(r.db("other").table_create("t"))
    for given in ([14, ["other"]], "other"):
        assert (await client.run(r.table("t").count(), db=given))["r"] == [0]
        assert (await client.run(r.table("t").get(1), db=given))["r"] == [None]
    assert (await client.run(r.table("t").count()))["r"] == ["Table `test.t` does not exist."]
    assert (await client.run(r.table("t"), db=[14, ["missing"]]))["r"] == ["Database `missing` does not exist."]


async def test_old_options_say_what_to_do_instead(client: Client) -> None:
    await client.run(r.table_create("t"))
    response = await client.run(r.table("t"), use_outdated=True)
    message = "The `use_outdated` optarg is no longer supported.  Use the `read_mode` optarg instead."
    assert (response["t"], response["r"]) == (18, [message])
    assert (await client.run(r.expr(1), use_outdated=True))["r"] == [1]


@pytest.mark.parametrize("mode", ["single", "majority", "outdated"])
async def test_read_modes_are_accepted(client: Client, mode: str) -> None:
    await client.run(r.table_create("t"))
    assert (await client.run(r.table("t").count(), read_mode=mode))["r"] == [0]


async def test_words_that_mean_nothing_are_refused(client: Client) -> None:
    await client.run(r.table_create("t"))
    response = await client.run(r.table("t"), read_mode="fast")
    message = 'Read mode `fast` unrecognized (options are "majority", "single", and "outdated").'
    assert (response["t"], response["r"]) == (18, [message])
    response = await client.run(r.table("t").insert({}), durability="firm")
    message = 'Durability option `firm` unrecognized (options are "hard" and "soft").'
    assert (response["t"], response["r"]) == (18, [message])
    response = await client.run(r.table("t").get(1).delete(), durability="firm")
    assert (response["t"], response["r"]) == (18, [message])


async def test_options_stand_in_for_those_of_terms(client: Client) -> None:
    await client.run(r.table_create("t"))
    response = await client.run(r.table("t").insert({"id": 1}), return_changes=True)
    assert response["r"][0]["changes"] == [{"old_val": None, "new_val": {"id": 1}}]
    response = await client.run(r.table("t").insert({"id": 1, "a": 2}), conflict="replace")
    assert response["r"][0]["replaced"] == 1
    response = await client.run(r.table("t").insert({"id": 1}, conflict="error"), conflict="replace")
    assert response["r"][0]["errors"] == 1
    kept = await client.run(r.expr([{"a": 1}, {}]).filter(lambda row: row["a"] == 1), default=True)
    assert kept["r"] == [[{"a": 1}, {}]]


@pytest.mark.parametrize("option", ["time_format", "binary_format", "group_format"])
@pytest.mark.parametrize("word", ["native", "raw", "anything"])
async def test_formats_are_the_drivers_own_business(client: Client, option: str, word: str) -> None:
    plain = await client.run(r.epoch_time(1))
    assert await client.run(r.epoch_time(1), **{option: word}) == plain


def test_options_are_read_once() -> None:
    assert read_options({}) is NO_OPTIONS
    assert read_options({"array_limit": 77}) is read_options({"array_limit": 77})
    large = {"array_limit": [2, [0] * 1000]}
    with pytest.raises(ReqlError):
        read_options(large)


async def test_noreply_and_profile_are_only_true_when_they_are(client: Client) -> None:
    for value in ("yes", 1, None, False):
        response = await client.run(r.expr(1), noreply=value, profile=value)
        assert response["r"] == [1]
        assert "p" not in response
    assert (await client.run(r.expr(1).add(1), profile=[1, True]))["p"]
