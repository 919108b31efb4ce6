"""Who is dead: told by host and process number alone."""

import os
import subprocess
import sys
from dataclasses import replace

from sensord.daemon.owner import Owner, dead_members

ME = Owner.this()


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_an_owner_reads_as_it_was_written() -> None:
    owner = Owner("pump-house", 77, "sensord-0a1b/c")
    assert Owner.parse(str(owner)) == owner
    assert Owner.parse("somebody") is None


def test_a_process_that_ended_on_this_host_is_dead() -> None:
    dead = replace(ME, pid=ended_process(), member="member-1")
    assert dead_members([str(dead), str(dead)], ME) == ["member-1"]


def test_in_a_container_the_one_before_had_the_same_number() -> None:
    assert dead_members([str(replace(ME, member="member-1"))], ME) == ["member-1"]


def test_who_lives_or_runs_elsewhere_is_left_alone() -> None:
    living = replace(ME, pid=os.getppid(), member="member-1")
    elsewhere = Owner(ME.host + "-2", ended_process(), "member-2")
    never_joined = replace(ME, pid=ended_process())
    assert dead_members([str(living), str(elsewhere), str(never_joined), "garbage"], ME) == []
