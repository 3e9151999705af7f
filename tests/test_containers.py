"""The Dockerfile and the compose file, without an engine: their rules, and what they run."""

import asyncio
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.program import Cli, running
from tests.databases import empty_database
from tests.documents import code_of
from whence.cli import COMMANDS
from whence.settings import FIELDS

ROOT = Path(__file__).parents[1]
SETTINGS = {variable for variable, _ in FIELDS.values()}
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments; comments and line ends are left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    parted = (line.strip().partition(" ") for line in lines.splitlines() if line.strip())
    return [(word.upper(), rest.strip()) for word, _, rest in parted]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
LAST_STAGE = DOCKERFILE[max(index for index, (word, _) in enumerate(DOCKERFILE) if word == "FROM") :]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def only(word: str) -> str:
    """The one instruction of this kind in the last stage."""
    (found,) = (rest for name, rest in LAST_STAGE if name == word)
    return found


def environment() -> dict[str, str]:
    """What the image sets."""
    return dict(pair.split("=", 1) for pair in shlex.split(only("ENV")))


def complaints(dockerfile: list[tuple[str, str]]) -> Iterator[str]:
    """What hadolint would say by the rules that matter here."""
    stages: list[str] = []
    for word, rest in dockerfile:
        if word == "FROM":
            image, *named = rest.split(" AS ")
            if image not in stages and (":" not in image or image.endswith(":latest")):
                yield "DL3006, DL3007: an image has a tag"
            stages += named
        if word == "COPY" and "--from=" in rest:
            source = rest.split("--from=")[1].split()[0]
            if source not in stages and ":" not in source:
                yield "DL3022: COPY --from names a stage or an image with a tag"
        if word in ("ADD", "MAINTAINER"):
            yield "DL3020, DL4000: COPY instead of ADD, and no MAINTAINER"
        if word == "RUN" and re.search(r"\b(sudo|ssh|kill)\b|\bcd ", rest):
            yield "DL3003, DL3004: no sudo, and WORKDIR instead of cd"
        if word == "RUN" and "pip install" in rest and "--no-cache-dir" not in rest:
            yield "DL3042: no cache of pip in a layer"
        if word == "RUN" and "apt-get install" in rest and "--no-install-recommends" not in rest:
            yield "DL3015: no recommended packages"
        if word == "WORKDIR" and not rest.startswith("/"):
            yield "DL3000: WORKDIR is absolute"
        if word in ("CMD", "ENTRYPOINT") and not rest.startswith("["):
            yield "DL3025: CMD and ENTRYPOINT are JSON, so that signals arrive"
    users = [rest for word, rest in dockerfile if word == "USER"]
    if not users or not re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", users[-1]):
        yield "DL3002: the last user is not root, and a number"
    for word in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
        if [name for name, _ in dockerfile].count(word) != 1:
            yield f"DL4003, DL4004, DL3012: one {word}"


def test_the_dockerfile_keeps_the_rules() -> None:
    """Tags, no root, no shell around the server, and a health check."""
    assert list(complaints(DOCKERFILE)) == []


@pytest.mark.parametrize(
    ("linter", "file"), [("hadolint", "Dockerfile"), ("compose-lint", "compose.yaml")], ids=["hadolint", "compose-lint"]
)
def test_a_linter_finds_nothing(linter: str, file: str) -> None:
    """Where it is installed: all rules of hadolint, and those of compose-lint whose severity is high."""
    if shutil.which(linter) is None:
        pytest.skip(f"needs {linter}")
    done = subprocess.run([linter, file], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "broken",
    [
        ("USER 10001:10001", "USER root"),
        ("FROM python:3.13-slim-bookworm\n", "FROM python\n"),
        ('CMD ["serve"]', "CMD serve"),
        ("HEALTHCHECK", "# HEALTHCHECK"),
        ("--no-cache-dir --require-hashes", "--require-hashes"),
        ("--from=build", "--from=elsewhere"),
    ],
    ids=lambda pair: pair[1].split()[0],
)
def test_a_broken_dockerfile_is_found(broken: tuple[str, str]) -> None:
    """The rules are not empty."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert broken[0] in text
    assert list(complaints(instructions(text.replace(*broken))))


def test_what_the_dockerfile_copies_is_there_and_sent() -> None:
    """Each source exists, and .dockerignore lets it through."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    copied = {
        source for word, rest in DOCKERFILE if word == "COPY" and "--from=" not in rest for source in rest.split()[:-1]
    }
    assert copied == sent
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_the_image_sets_what_the_server_reads() -> None:
    """Its variables are settings, the port is the one that it exposes, and all data is in the volume."""
    variables = environment()
    assert {name for name in variables if name.startswith("WHENCE_")} <= SETTINGS
    assert variables["WHENCE_PORT"] == only("EXPOSE")
    assert variables["HOME"] == only("VOLUME") == only("WORKDIR") == "/data"
    assert variables["WHENCE_STORE"].startswith("sqlite:////data/")


def test_the_image_installs_pinned_versions() -> None:
    """requirements/server.txt and build.txt are parts of requirements/dev.txt, with the same versions and hashes."""
    server, build, dev = (
        (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8") for name in ("server", "build", "dev")
    )
    assert dict(PINNED.findall(server + build)).items() <= dict(PINNED.findall(dev)).items()
    assert {"apsw", "asyncpg", "cyclopts", "litestar", "uvicorn"} <= dict(PINNED.findall(server)).keys()
    hashes = re.compile(r"--hash=sha256:[0-9a-f]{64}")
    assert set(hashes.findall(server + build)) <= set(hashes.findall(dev))
    assert {"editables", "hatchling"} <= dict(PINNED.findall(build)).keys()


def test_the_compose_file_keeps_the_rules() -> None:
    """Known keys, tags, no privileges, and secrets that have to be given."""
    services = COMPOSE["services"]
    assert set(services) == {"db", "migrate", "whence"}
    for name, service in services.items():
        assert service["image"] == "whence" or re.fullmatch(r"postgres:[0-9]+-\w+", service["image"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        if name != "db":
            assert service["read_only"] and service["cap_drop"] == ["ALL"]
            assert service["command"][0] in COMMANDS
            assert {key for key in service["environment"] if key.startswith("WHENCE_")} <= SETTINGS
        for key, value in service["environment"].items():
            if "SECRET" in key or "PASSWORD" in key:
                assert re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value), key
    named = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert named == set(COMPOSE["volumes"])
    assert services["whence"]["ports"] == [f"127.0.0.1:{only('EXPOSE')}:{only('EXPOSE')}"]
    assert services["db"]["healthcheck"]["test"][0] == "CMD"
    assert services["migrate"]["depends_on"]["db"]["condition"] == "service_healthy"
    assert services["whence"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_the_commands_of_the_page_fit_the_files() -> None:
    """What docs/operations.md has a user type: volume, port, services and commands, and all secrets that are needed."""
    image, compose = [code for code in code_of("docs/operations.md", "sh") if "docker" in code]
    assert f":{only('EXPOSE')} " in image and f":{only('VOLUME')} " in image
    for service, command in re.findall(r"exec (\w+) whence (\w+)", image + compose):
        assert service in {*COMPOSE["services"], "whence"} and command in COMMANDS
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "compose.yaml").read_text(encoding="utf-8")))
    making = compose.splitlines()[0].partition(" > ")[0]
    made = subprocess.run(["bash", "-c", making], capture_output=True, text=True, check=True, timeout=30)
    assert dict(line.split("=", 1) for line in made.stdout.splitlines()).keys() == needed


# ------------------------------------------------------------------------------------ the same commands, without images


def is_healthy(port: int) -> bool:
    """What the health check of the image finds out."""
    kind, _, command = only("HEALTHCHECK").partition("CMD ")
    assert "--interval" in kind
    program, *arguments = json.loads(command)
    assert program == "python"
    checked = subprocess.run(
        [sys.executable, *arguments], env={"WHENCE_PORT": str(port)}, capture_output=True, check=False, timeout=30
    )
    return checked.returncode == 0


def in_image(home: Path, **variables: str) -> Cli:
    """The program with the environment of the image, whose /data is another folder here."""
    image = {
        name.removeprefix("WHENCE_").lower(): value.replace("/data", str(home))
        for name, value in environment().items()
        if name.startswith("WHENCE_")
    }
    return Cli(home, environ={"HOME": str(home)}).given(**image | {"port": "0"} | variables)


def test_the_image_serves_and_is_healthy(tmp_path: Path) -> None:
    """The health check fails before and after, and the server ends by the signal that an engine sends."""
    assert json.loads(only("ENTRYPOINT")) == ["whence"]
    command = json.loads(only("CMD"))
    with running(in_image(tmp_path), *command) as serving:
        assert is_healthy(serving.port)
        assert (tmp_path / "log.db").exists()
        assert serving.stop(signal.SIGTERM) == 0
        assert not is_healthy(serving.port)


@pytest.mark.slow
def test_the_compose_file_serves_from_postgresql(tmp_path: Path) -> None:
    """Its services, in the order of their dependencies: the schema is made, the server runs, and a key works."""
    database = asyncio.run(empty_database())
    given = {"WHENCE_STORE_SECRET": "s" * 32, "POSTGRES_PASSWORD": ""}
    services = COMPOSE["services"]

    def service(name: str) -> Cli:
        variables = {
            key.removeprefix("WHENCE_").lower(): given.get(value[2:].split(":")[0], value)
            for key, value in services[name]["environment"].items()
            if key.startswith("WHENCE_")
        }
        assert variables["store"] == "postgresql://whence@db/whence"
        return in_image(tmp_path, **variables | {"store": database})

    assert "up to" in service("migrate").ok(*services["migrate"]["command"]).err
    with running(service("whence"), *services["whence"]["command"]) as serving:
        assert is_healthy(serving.port)
        scopes = ("--scope", "events:read", "--scope", "events:write")
        made = service("whence").ok("key", "create", "--tenant", "acme", *scopes)
        found = re.search(r"whk_\w+", made.out + made.err)
        assert found is not None
        user = Cli(tmp_path).given(url=serving.url, api_key=found[0])
        assert user.ok("list", "--json").json["total"] == 0
        assert serving.stop(signal.SIGTERM) == 0
