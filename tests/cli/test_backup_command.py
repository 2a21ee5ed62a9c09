"""`photondb backup`, `restore`, `check` and `repair` as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
import rethinkdb

from photondb.cli.progress import ProgressLines
from photondb.cli.restore import moment
from tests.cli.test_command import photondb
from tests.running_suite import RunningSuite

r = rethinkdb.RethinkDB()


@pytest.mark.parametrize("processes", [False, True])
def test_backup_of_a_running_suite_is_restored_and_served(tmp_path: Path, processes: bool) -> None:
    # The path of the directory is longer than that of a socket may be.
    data = tmp_path / ("long" * 25)
    with RunningSuite(data, processes=processes) as suite:
        connection = r.connect(port=suite.driver_port)
        r.table_create("t").run(connection)
        r.table("t").insert([{"id": number} for number in range(100)]).run(connection)
        done = photondb("backup", "--data-dir", str(data), "--to", str(tmp_path / "full"))
        assert (done.returncode, done.stdout[:15]) == (0, "full backup of ")
        assert done.stderr.startswith("copying ")
        r.table("t").get(7).update({"changed": True}).run(connection)
        more = ("backup", "--to", str(tmp_path / "more"), "--incremental", str(tmp_path / "full"))
        assert photondb(*more, PHOTONDB_DATA_DIR=str(data)).returncode == 0
        again = photondb(*more, PHOTONDB_DATA_DIR=str(data))
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr == f"photondb: {tmp_path / 'more'} exists already: choose a new directory\n"
        r.table("t").delete().run(connection)
        connection.close()
    restored = tmp_path / "restored"
    done = photondb("restore", str(tmp_path / "full"), str(tmp_path / "more"), "--to", str(restored))
    assert (done.returncode, done.stdout) == (0, f"restored to {restored}\n")
    checked = photondb("check", str(restored))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "test.t: 100 documents of" in checked.stdout
    with RunningSuite(restored, processes=processes) as suite:
        connection = r.connect(port=suite.driver_port)
        assert r.table("t").count().run(connection) == 100
        assert r.table("t").get(7).run(connection) == {"id": 7, "changed": True}
        connection.close()


def test_a_table_that_was_dropped_before_the_next_backup_is_named(tmp_path: Path) -> None:
    full, more, data = (tmp_path / name for name in ("full", "more", "data"))
    with RunningSuite(data, processes=False) as suite, r.connect(port=suite.driver_port) as connection:
        for name in ("kept", "dropped"):
            r.table_create(name).run(connection)
        assert photondb("backup", "--data-dir", str(data), "--to", str(full)).returncode == 0
        at = r.now().to_epoch_time().run(connection)
        r.table_drop("dropped").run(connection)
        r.table_create("later").run(connection)
        made = photondb("backup", "--data-dir", str(data), "--to", str(more), "--incremental", str(full))
        assert made.returncode == 0
    done = photondb("restore", str(full), str(more), "--to", str(tmp_path / "then"), "--at", str(at))
    first, second = done.stdout.splitlines()
    assert first == (
        f"without the table test.dropped, which was dropped after the backup {full}: restore up to that one to have it"
    )
    assert second == f"restored to {tmp_path / 'then'}"
    checked = photondb("check", str(tmp_path / "then"))
    assert checked.returncode == 0
    assert "test.kept" in checked.stdout
    assert "test.later" not in checked.stdout


def test_backup_of_a_stopped_suite(tmp_path: Path) -> None:
    with RunningSuite(tmp_path / "data", processes=False):
        pass
    done = photondb("backup", "--data-dir", str(tmp_path / "data"), "--to", str(tmp_path / "full"))
    assert done.returncode == 0
    assert photondb("restore", str(tmp_path / "full"), "--to", str(tmp_path / "restored")).returncode == 0
    repaired = photondb("repair", str(tmp_path / "restored"), "--to", str(tmp_path / "repaired"))
    assert repaired.returncode == 0
    assert photondb("check", str(tmp_path / "repaired")).returncode == 0


def test_what_is_no_data_and_no_backup(tmp_path: Path) -> None:
    done = photondb("backup", "--data-dir", str(tmp_path), "--to", str(tmp_path / "full"))
    assert (done.returncode, done.stderr) == (1, f"photondb: there is no PhotonDB data in {tmp_path}\n")
    done = photondb("restore", str(tmp_path), "--to", str(tmp_path / "restored"))
    assert (done.returncode, done.stderr) == (1, f"photondb: {tmp_path} is no backup, or one that was not completed\n")
    assert photondb("repair", str(tmp_path)).returncode == 2


def test_moments() -> None:
    assert moment("1.5") == 1_500_000
    assert moment("1970-01-01T00:00:02.000001+00:00") == 2_000_001
    with pytest.raises(ValueError, match="Invalid isoformat"):
        moment("yesterday")


def test_progress_is_told_every_second(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    advance = ProgressLines(lambda: now).start("copying", 200_000_000)
    for step in range(1, 5):
        now = step / 2
        advance(50_000_000)
    assert capsys.readouterr().err.splitlines() == ["copying 200.0 MB", "copying 50%", "copying 100%"]
