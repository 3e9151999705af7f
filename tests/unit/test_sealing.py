"""The store secret: a key for each purpose, and sealed text that only the same secret opens."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from whence import sealing
from whence.sealing import SEALED_BYTES_MORE, Sealer, StoreSecret

TEXT = "0123456789abcdef0123456789abcdef"
SECRET = StoreSecret(TEXT)
OPEN = Sealer.open


def test_subkeys_stay_the_same() -> None:
    """A release that derives other keys would end every cursor and token, so the derivation is pinned."""
    assert SECRET.subkey("cursors").hex().startswith("a9683ba26dd74471bc9c0a9f6b71033d")
    assert SECRET.subkey("cursors") == StoreSecret(TEXT).subkey("cursors")


@catches(replaced(StoreSecret, "subkey", lambda secret, _purpose: OTHER_KEY, "one_key_for_all"))
def test_each_purpose_has_its_own_key() -> None:
    """What is sealed for one purpose is not opened for another, nor with another secret."""
    sealed = SECRET.sealer("cursors").seal(b"data", b"")
    assert SECRET.sealer("cursors").open(sealed, b"") == b"data"
    assert SECRET.sealer("tokens").open(sealed, b"") is None
    assert StoreSecret(TEXT + "x").sealer("cursors").open(sealed, b"") is None


OTHER_KEY = bytes(range(64))


@PROPERTY
@given(data=st.binary(max_size=200), bound=st.binary(max_size=50))
def test_what_is_sealed_can_be_opened(data: bytes, bound: bytes) -> None:
    """It is URL-safe text of a known length, and the same for the same content."""
    sealer = SECRET.sealer("cursors")
    sealed = sealer.seal(data, bound)
    assert sealer.open(sealed, bound) == data
    assert len(base64.urlsafe_b64decode(sealed + "===")) == len(data) + SEALED_BYTES_MORE
    assert sealer.seal(data, bound) == sealed
    assert sealer.open(sealed, bound + b"x") is None


def lenient(sealer: Sealer, text: str, bound: bytes) -> bytes | None:
    """Mutant: characters outside the alphabet are skipped."""
    kept = "".join(character for character in text if character.isalnum() or character in "-_")
    return OPEN(sealer, kept, bound)


@catches(replaced(Sealer, "open", lenient, "odd_characters_are_skipped"))
def test_changed_text_is_not_opened() -> None:
    """Every changed character, cut or longer text, padding and other alphabets."""
    sealer = SECRET.sealer("cursors")
    sealed = sealer.seal(b"some data here", b"")
    for at in range(len(sealed)):
        other = "A" if sealed[at] != "A" else "B"
        assert sealer.open(sealed[:at] + other + sealed[at + 1 :], b"") is None
    for text in ("", "=", sealed[:-1], sealed + "A", sealed + "=", " " + sealed, sealed + "\n", sealed + "é", "A" * 9):
        assert sealer.open(text, b"") is None, text


def test_a_short_text_is_no_secret() -> None:
    """It could be guessed. No secret is shown by its repr."""
    with pytest.raises(ValueError, match="at least 32 bytes"):
        StoreSecret("x" * 31)
    assert TEXT not in repr(SECRET)
    assert len(StoreSecret.new_text()) == 64
    assert StoreSecret.new_text() != StoreSecret.new_text()
    assert sealing.StoreSecret.random().subkey("a") != sealing.StoreSecret.random().subkey("a")
