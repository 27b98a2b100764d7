"""CPU time of a process with its descendants."""

import os
import subprocess
import sys

from dpo_core.cpu_time import cpu_seconds

BUSY = "import time\nwhile time.process_time() < {}: pass\n"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def test_own_time_that_of_those_waited_for_and_of_those_that_run() -> None:
    """Three processes burn 0.2 s each: one, a child that it waits for, a child that lives on."""
    burn = BUSY.format(0.2)
    program = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {burn!r}])
alive = {burn + "print(flush=True); time.sleep(600)"!r}
child = subprocess.Popen([sys.executable, "-c", alive], stdout=subprocess.PIPE)
child.stdout.readline()
import time
before = time.process_time()
while time.process_time() < before + 0.2: pass
print(time.process_time(), flush=True)
sys.stdin.read()
child.kill()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as process:
        assert process.stdout is not None
        own = float(process.stdout.readline())
        whole = cpu_seconds(process.pid)
    # Two others burn at least 0.2 s each, and starting Python takes each less than 1 s.
    assert own + 0.4 - 4 * TICK_S <= whole <= own + 2.4


def test_this_process() -> None:
    times = os.times()
    assert cpu_seconds(os.getpid()) >= times.user + times.system - 2 * TICK_S


def test_no_process() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert cpu_seconds(gone.pid) == 0.0
