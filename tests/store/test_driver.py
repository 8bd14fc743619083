"""Commands at work on a sweep: those of one plan together, those of another never at the same time."""

import errno
import json
import multiprocessing
import os
import time

import pytest

from ablate.store import driver
from ablate.store.lock import me


def write(folder, token="aa", plan="other", began=0.0, **more):
    """The file of a command of this process, or of another by what is said in `more`."""
    path = folder / driver.PATTERN.replace("*", token)
    path.write_text(json.dumps({**me(), "token": token, "plan": plan, "began": began, **more}))
    return path


def test_one_plan_is_shared_and_another_refused_until_it_ends(tmp_path):
    folder = tmp_path / "sweeps" / "x"
    with driver.holding(folder, "one"):
        with driver.holding(folder, "one"):
            assert len(list(folder.iterdir())) == 2 and driver.others(folder, "one") == []
        with pytest.raises(driver.Taken) as taken, driver.holding(folder, "two"):
            pass
        assert (taken.value.by["pid"], taken.value.by["plan"]) == (os.getpid(), "one")
        assert len(list(folder.iterdir())) == 1
    assert list(folder.iterdir()) == []
    with driver.holding(folder, "two"):
        assert [one["plan"] for one in driver.others(folder, "one")] == ["two"]


def test_the_later_of_two_gives_way_and_the_earlier_waits_until_it_has(tmp_path, monkeypatch):
    """The other's file appears right before this one looks: by its clock it began later, or earlier."""
    later = write(tmp_path, began=time.time() + 60)
    monkeypatch.setattr(driver.time, "sleep", lambda _: later.unlink())
    with driver.holding(tmp_path, "one"):
        assert not later.exists()
    earlier = write(tmp_path, began=time.time() - 60)
    with pytest.raises(driver.Taken), driver.holding(tmp_path, "one"):
        pass
    assert earlier.exists()


def test_clocks_that_disagree_let_nobody_in(tmp_path, monkeypatch):
    """Who was there long before, by a clock that is fast, does not give way."""
    monkeypatch.setattr(driver, "GIVING_WAY_SECONDS", 0.1)
    write(tmp_path, began=time.time() + 3600)
    with pytest.raises(driver.Taken), driver.holding(tmp_path, "one"):
        pass


def test_half_a_file_is_waited_for(tmp_path, monkeypatch):
    half = tmp_path / driver.PATTERN.replace("*", "half")
    half.touch()
    assert [one["pid"] for one in driver.others(tmp_path, "one")] == [None]
    monkeypatch.setattr(driver.time, "sleep", lambda _: write(tmp_path, "half", plan="one"))
    with driver.holding(tmp_path, "one"):
        pass
    os.truncate(half, 0)
    os.utime(half, (0, time.time() - 11))  # torn by a power cut
    with driver.holding(tmp_path, "one"):
        assert not half.exists()


def test_the_dead_are_buried_on_this_host_and_others(tmp_path):
    here = write(tmp_path, "here", started="1")  # another process has its id by now
    quiet = write(tmp_path, "quiet", host="elsewhere")
    os.utime(quiet, (0, time.time() - 130))
    with driver.holding(tmp_path, "one"):
        assert not here.exists() and not quiet.exists()
    lively = write(tmp_path, "lively", host="elsewhere")
    os.utime(lively, (0, time.time() - 100))
    with pytest.raises(driver.Taken), driver.holding(tmp_path, "one"):
        pass
    assert lively.exists()


@pytest.mark.parametrize("number", driver.UNWRITABLE)
def test_where_nothing_can_be_written_another_plan_is_seen_all_the_same(tmp_path, monkeypatch, number):
    def refuse(path, _):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(driver, "create", refuse)
    with driver.holding(tmp_path, "one"):
        assert list(tmp_path.iterdir()) == []
    write(tmp_path)
    with pytest.raises(driver.Taken), driver.holding(tmp_path, "one"):
        pass
    number = errno.EIO
    with pytest.raises(OSError), driver.holding(tmp_path, "one"):
        pass


def test_a_command_shows_life(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "BEAT_SECONDS", 0.01)
    with driver.holding(tmp_path, "one"):
        (own,) = tmp_path.iterdir()
        os.utime(own, (0, 0))
        end = time.monotonic() + 30
        while own.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_no_two_plans_at_once_however_they_race(tmp_path):
    """Six processes of three plans, all at once, again and again: of those inside all have one plan."""
    context = multiprocessing.get_context("fork")
    start, inside, wrong, entered = context.Barrier(6), context.Array("i", 3), context.Value("i"), context.Value("i")

    def race(plan):
        for _ in range(15):
            start.wait(60)
            try:
                with driver.holding(tmp_path, f"plan {plan}"):
                    with inside.get_lock():
                        inside[plan] += 1
                        wrong.value += sum(number > 0 for number in inside) != 1
                        entered.value += 1
                    time.sleep(0.02)
                    with inside.get_lock():
                        inside[plan] -= 1
            except driver.Taken:
                pass

    processes = [context.Process(target=race, args=(number % 3,)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 6
    assert wrong.value == 0 and entered.value >= 15  # each round lets somebody in
