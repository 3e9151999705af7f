"""Scopes, principals, and the secrets of keys and sessions."""

import hashlib
import re
import secrets

import pytest

from whence.errors import Forbidden
from whence.events import Vocabulary
from whence.permissions import (
    ADMIN,
    READ,
    WRITE,
    ApiKey,
    Principal,
    key_hash,
    new_api_key,
    new_operator_key,
    new_session_secret,
    parse_scopes,
    session_hash,
)

VOCABULARY = Vocabulary.extended(["invoice"])


def principal(*scopes: str) -> Principal:
    return Principal(tenant="acme", scopes=frozenset(scopes), key_id=None, subject="test")


def test_secret_has_the_promised_form() -> None:
    """A secret is `whk_`, 43 base62 digits for 32 random bytes and 6 for the checksum, and is stored as its SHA-256."""
    secret, key = new_api_key("acme", (READ,), now=5, expires_at=9, name="ci")
    assert re.fullmatch(r"whk_[0-9A-Za-z]{49}", secret)
    assert key.hash == hashlib.sha256(secret.encode()).digest() == key_hash(secret)
    assert (key.tenant, key.scopes, key.created_at, key.expires_at, key.name) == ("acme", (READ,), 5, 9, "ci")
    assert (key.revoked_at, key.last_used_at) == (None, None)
    assert re.fullmatch(r"key_[0-9A-Za-z]+", key.id)


@pytest.mark.parametrize("random_bytes", [bytes(32), b"\xff" * 32])
def test_secret_has_one_width(monkeypatch: pytest.MonkeyPatch, random_bytes: bytes) -> None:
    """The smallest and the largest random number have the same number of digits."""
    monkeypatch.setattr(secrets, "token_bytes", lambda size: random_bytes[:size])
    secret = new_session_secret()
    assert len(secret) == 4 + 43 + 6
    assert session_hash(secret) is not None


def test_secrets_and_ids_differ() -> None:
    made = [new_api_key("acme", (READ,), now=1) for _ in range(50)]
    assert len({secret for secret, _ in made}) == len({key.id for _, key in made}) == 50


def test_any_single_wrong_character_is_found_before_a_look_up() -> None:
    secret, _ = new_api_key("acme", (READ,), now=1)
    for place in range(len(secret)):
        other = "0" if secret[place] != "0" else "1"
        assert key_hash(secret[:place] + other + secret[place + 1 :]) is None


def test_what_is_no_key_has_no_hash() -> None:
    secret, _ = new_api_key("acme", (READ,), now=1)
    session = new_session_secret()
    wrong = ["", "whk_", secret[:-1], secret + "0", secret + "\n", " " + secret, secret.lower(), session]
    wrong += ["whk_" + session[4:], "whk_" + "\u0660" * 49, "whk_" + "é" * 49]
    assert [key_hash(text) for text in wrong] == [None] * len(wrong)
    assert session_hash(session) == hashlib.sha256(session.encode()).digest()
    assert session_hash(secret) is None
    assert session_hash("whs_" + secret[4:]) is None


def test_scopes_are_known_ones_sorted_and_once() -> None:
    assert parse_scopes([WRITE, READ, WRITE, "events:read:invoice"], VOCABULARY) == (
        READ,
        "events:read:invoice",
        WRITE,
    )


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["events"],
        ["events:read:nothing"],
        ["events:write:decision"],
        ["ADMIN"],
        [""],
        [ADMIN, "*"],
        ["events:read:"],
    ],
)
def test_other_scopes_are_refused_without_an_echo(scopes: list[str]) -> None:
    with pytest.raises(ValueError, match=r"scope") as caught:
        parse_scopes(scopes, VOCABULARY)
    assert "nothing" not in str(caught.value)
    assert "*" not in str(caught.value)


@pytest.mark.parametrize(
    ("held", "asked", "may"),
    [
        ((READ,), READ, True),
        ((READ,), "events:read:decision", True),
        ((READ,), WRITE, False),
        ((READ,), ADMIN, False),
        (("events:read:decision",), READ, True),
        (("events:read:decision",), "events:read:decision", True),
        (("events:read:decision",), "events:read:artifact", False),
        ((WRITE,), READ, False),
        ((ADMIN,), ADMIN, True),
        ((ADMIN,), READ, False),
        ((ADMIN,), WRITE, False),
        ((), READ, False),
        (("events:reader",), READ, False),
    ],
)
def test_what_a_scope_allows(held: tuple[str, ...], asked: str, may: bool) -> None:
    assert principal(*held).may(asked) is may


def test_a_missing_scope_is_named() -> None:
    principal(READ).require(READ)
    with pytest.raises(Forbidden, match=r"lacks the scope events:write\."):
        principal(READ).require(WRITE)


def test_readable_resource_types() -> None:
    """Readable types are None for all, the types of the read scopes, or empty without a read scope."""
    assert principal(READ, "events:read:decision").readable is None
    assert principal("events:read:decision", "events:read:artifact", WRITE).readable == ("artifact", "decision")
    assert principal(ADMIN, WRITE).readable == ()


def test_a_key_is_alive_until_it_expires_or_is_revoked() -> None:
    def key(expires_at: int | None = None, revoked_at: int | None = None) -> ApiKey:
        return ApiKey(
            id="key_1",
            hash=b"h",
            tenant="t",
            scopes=(READ,),
            created_at=0,
            expires_at=expires_at,
            revoked_at=revoked_at,
        )

    assert key().alive(10)
    assert key(expires_at=11).alive(10)
    assert not key(expires_at=10).alive(10)
    assert not key(revoked_at=3).alive(10)


def test_the_repr_of_a_key_tells_nothing_secret() -> None:
    secret, key = new_api_key("acme", (READ,), now=1)
    assert secret not in repr(key)
    assert repr(key.hash) not in repr(key)
    assert key.hash.hex() not in repr(key)


@pytest.mark.parametrize(
    ("held", "scope", "may_give"),
    [
        ((READ,), READ, True),
        ((READ,), f"{READ}:decision", True),
        ((f"{READ}:decision",), f"{READ}:decision", True),
        ((f"{READ}:decision",), f"{READ}:artifact", False),
        ((f"{READ}:decision",), READ, False),
        ((ADMIN,), READ, False),
        ((ADMIN,), WRITE, False),
        ((ADMIN, READ, WRITE), ADMIN, True),
        ((ADMIN, READ, WRITE), "operator", False),
        ((), READ, False),
    ],
)
def test_what_a_credential_may_give(held: tuple[str, ...], scope: str, may_give: bool) -> None:
    """A scope that it holds, or that one of its scopes covers; the tokens of an operator's key follow the same rule."""
    assert principal(*held).may_give(scope) is may_give
    assert new_operator_key(held, now=1)[1].may_pass_on(scope) is may_give


def test_an_operators_key_has_neither_tenant_nor_scopes() -> None:
    """So a server that knows no ceilings allows it nothing. A tenant's key passes nothing on."""
    _, key = new_operator_key((READ, WRITE), now=5, expires_at=9, name="platform")
    assert (key.tenant, key.scopes, key.ceiling) == ("", (), (READ, WRITE))
    assert (key.created_at, key.expires_at, key.name) == (5, 9, "platform")
    assert not new_api_key("acme", (READ,), now=5)[1].may_pass_on(READ)
