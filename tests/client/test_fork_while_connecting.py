"""A child that is forked while the sender opens its first connection can connect too."""

from pathlib import Path

from tests.client.fake_server import fake_server
from tests.client.programs import environment, every_python, run_program

FORK_WHILE_THE_CODEC_IS_IMPORTED = """
import importlib.abc

log = Whence(exit_timeout_s=20)
imported, may_go_on = threading.Event(), threading.Event()

class SlowCodec(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "encodings.idna":
            imported.set()
            may_go_on.wait(30)

if "encodings.idna" not in sys.modules:
    sys.meta_path.insert(0, SlowCodec())
    emit(log, "parent")
    assert imported.wait(30)
else:
    emit(log, "parent")
child = os.fork()
if child == 0:
    emit(log, "child")
    os._exit(0 if log.flush(10) else 1)
may_go_on.set()
note("child", str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
note("parent", str(log.flush(10)))
"""
"""The first name that a process looks up imports a codec. A child forked at that moment has half of it, for ever."""


@every_python
def test_a_child_forked_during_the_first_connection_sends(tmp_path: Path, python: str) -> None:
    """The sender's thread must import nothing: the child would keep its events on disk, and send none."""
    with fake_server() as server:
        env = environment(server.url, "whk_x", tmp_path)
        code, lines, _ = run_program(FORK_WHILE_THE_CODEC_IS_IMPORTED, env, python=python)
        assert (code, lines) == (0, ["child 0", "parent True"])
        assert sorted(server.actors) == ["child", "parent"]
