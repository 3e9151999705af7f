"""Mutants: the program broken in one way each, to prove that the tests would notice.

Each is code that runs in the process of the program, before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])

MUTANTS = "whence_mutants"


@dataclass(frozen=True)
class Mutant:
    """A name, and the code that breaks the program."""

    name: str
    code: str


def catches(*mutants: Mutant) -> Callable[[Test], Test]:
    """Run the test also with each mutant, where it must fail."""

    def mark(test: Test) -> Test:
        setattr(test, MUTANTS, mutants)
        return test

    return mark


EAGER = Mutant("overview_loads_the_server", "import whence.cli.serve")

MESSAGES_ON_STDOUT = Mutant(
    "messages_on_stdout", "import whence.cli.terminal as terminal\nterminal.say = lambda text: print(text, flush=True)"
)

AS_IT_IS = Mutant(
    "text_as_it_is",
    """
import re
import whence.cli.terminal as terminal
terminal._UNSAFE = terminal._UNSAFE_IN_JSON = re.compile("(?!)")
""",
)

KEY_IN_THE_JOURNAL = Mutant(
    "first_key_shown_anywhere", "import whence.cli.terminal as terminal\nterminal.on_terminal = lambda: True"
)

KEY_NOT_SHOWN = Mutant(
    "first_key_shown_nowhere", "import whence.cli.terminal as terminal\nterminal.on_terminal = lambda: False"
)

NO_TENANT_IS_THE_DEFAULT = Mutant(
    "empty_tenant_taken_for_none",
    """
import whence.cli.keys as keys
checked = keys._tenant
keys._tenant = lambda tenant: checked(tenant or None)
""",
)

ONLY_THE_FORMER_CHARACTERS = Mutant(
    "text_that_hides_as_it_is",
    """
import re
import whence.cli.terminal as terminal
hiding = "[\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\x7f-\\x9f"
terminal._UNSAFE = re.compile(hiding + "\\x00-\\x1f\\ud800-\\udfff]")
terminal._UNSAFE_IN_JSON = re.compile(hiding + "]")
""",
)

ONE_FAILURE = Mutant("one_exit_code", "import whence.cli.app as app\napp.EXIT_CODES.clear()")

LETS_THROUGH = Mutant(
    "errors_go_through",
    """
import whence.cli.app as app
def _report(error):
    raise error
app._report = _report
""",
)

REENCODED = Mutant(
    "json_made_anew",
    """
import json
import whence.cli.terminal as terminal
terminal.out_json = lambda body: print(json.dumps(json.loads(body)))
""",
)

NO_FILTER = Mutant(
    "filters_left_out",
    """
import whence.cli.events as events
events.FilterOptions.parameters = lambda self: {}
""",
)

CAUSES_AS_THEY_ARE = Mutant(
    "causes_in_filters_sent_as_they_are",
    """
import whence.cli.events as events
events.FieldOptions.resolved = lambda self, whence: self.parameters()
""",
)

ENVIRONMENT_FIRST = Mutant(
    "environment_over_flags",
    """
import os
import whence.cli.profiles as profiles
found = profiles.client_for
def client_for(flags, *rest, **more):
    flags = flags or profiles.ServerOptions()
    get = os.environ.get
    return found(profiles.ServerOptions(get("WHENCE_URL") or flags.url, get("WHENCE_API_KEY") or flags.api_key), **more)
profiles.client_for = client_for
""",
)

PROFILE_FIRST = Mutant(
    "profile_over_all",
    """
import whence.cli.profiles as profiles
from whence.profiles import load_profiles
found = profiles.client_for
def client_for(flags, *rest, **more):
    kept = load_profiles()
    kept = kept.profiles.get(kept.current)
    return found(profiles.ServerOptions(kept.url, kept.api_key) if kept else flags, **more)
profiles.client_for = client_for
""",
)

KEY_FOR_ALL = Mutant(
    "profile_key_to_any_server",
    """
import whence.cli.profiles as profiles
from whence.profiles import load_profiles
found = profiles.client_for
def client_for(flags, *rest, **more):
    kept = load_profiles()
    kept = kept.profiles.get(kept.current)
    flags = flags or profiles.ServerOptions()
    return found(profiles.ServerOptions(flags.url, flags.api_key or (kept.api_key if kept else None)), **more)
profiles.client_for = client_for
""",
)

PROFILE_FLAG_IGNORED = Mutant(
    "profile_flag_ignored",
    """
import whence.cli.profiles as profiles
found = profiles.client_for
def client_for(flags, *rest, **more):
    flags = flags or profiles.ServerOptions()
    return found(profiles.ServerOptions(flags.url, flags.api_key), *rest, **more)
profiles.client_for = client_for
""",
)

ONE_PROFILE_FOR_ALL = Mutant(
    "one_profile_for_all_stores",
    """
import whence.cli.first_run as first_run
first_run.with_new_log = lambda profiles, wanted, saved: profiles.with_profile("default", saved)
""",
)

WORLD_READABLE = Mutant(
    "profile_that_all_can_read",
    """
import os
import whence.profiles as profiles
replace = os.replace
def loud(source, target):
    os.chmod(source, 0o644)
    replace(source, target)
profiles.os.replace = loud
""",
)

RANDOM_IDS = Mutant(
    "ids_at_random",
    """
import uuid
import whence.wire.ids as ids
ids.derived_uuid = lambda *names: str(uuid.uuid4())
""",
)

PACKED_IDS = Mutant(
    "ids_of_the_packed_file",
    """
import gzip
import whence.cli.event_files as importing
chunks = importing._chunks
def _chunks(file, running):
    if isinstance(file, gzip.GzipFile):
        running.update(b"packed")
    return chunks(file, running)
importing._chunks = _chunks
""",
)

IDS_OF_THE_WHOLE_FILE = Mutant(
    "ids_of_the_whole_file",
    """
import pathlib
import whence.cli.event_files as importing
chunks = importing._chunks
def _chunks(file, running):
    running.update(pathlib.Path(file.name).read_bytes())
    return chunks(file, running)
importing._chunks = _chunks
""",
)

IDS_OF_THE_LINE_ALONE = Mutant(
    "ids_of_the_line_alone",
    """
import whence.cli.event_files as importing
from whence.wire.ids import derived_uuid
with_id = importing._with_id
importing._with_id = lambda body, fields, event_id: with_id(body, fields, derived_uuid(body.hex()))
""",
)

IDS_OF_THE_LINE_WITH_ITS_END = Mutant(
    "ids_of_the_line_with_its_end",
    """
import whence.cli.event_files as importing
def _chunks(file, running):
    for line in file:
        running.update(line)
        yield line
importing._chunks = _chunks
""",
)

STOPS_AT_BAD = Mutant(
    "stops_at_a_bad_line",
    """
import whence.cli.import_files as importing
read = importing.read_lines
def read_lines(path, refuse, *rest):
    bad = []
    for line in read(path, lambda *told: (bad.append(told), refuse(*told)), *rest):
        if bad:
            return
        yield line
importing.read_lines = read_lines
""",
)

NUMBERS_FROM_ZERO = Mutant(
    "lines_counted_from_zero",
    """
import whence.cli.import_files as importing
read = importing.read_lines
def read_lines(path, refuse, *rest):
    return read(path, lambda place, reason: refuse(str(int(place) - 1), reason), *rest)
importing.read_lines = read_lines
""",
)

LOSES_THE_REST = Mutant(
    "last_group_left_out",
    """
import whence.cli.import_files as importing
batches = importing._batches
def _batches(lines):
    for group in batches(lines):
        if len(group) < importing.BATCH_EVENTS_MAX:
            return
        yield group
importing._batches = _batches
""",
)

IMPATIENT = Mutant("gives_up_at_once", "import whence.cli.import_files as importing\nimporting._RETRIES = 0")

LEAVES_ITS_FOLDER = Mutant(
    "temporary_directory_left",
    """
import tempfile
class Folder:
    def __init__(self, prefix):
        self.name = tempfile.mkdtemp(prefix=prefix)
    def __enter__(self):
        return self.name
    def __exit__(self, *error):
        pass
tempfile.TemporaryDirectory = Folder
""",
)
