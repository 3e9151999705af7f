"""The one form of identities, and the spellings under which a store may have them."""

from tests.unit.mutants import NEVER, catches, replaced
from whence import identities

GOOD = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"


@catches(replaced(identities, "_UUID", NEVER, "no_text_is_a_uuid"))
def test_an_identity_has_one_form_and_few_spellings() -> None:
    """Only a hyphenated UUID with letters has more than one spelling: lower case, upper case, and the text itself."""
    mixed = GOOD[:-4] + "aB01"
    digits = "00000000-0000-0000-0000-000000000012"
    assert [identities.canonical(text) for text in (GOOD, GOOD.upper(), mixed)] == [GOOD, GOOD, mixed.lower()]
    assert identities.spellings(GOOD) == identities.spellings(GOOD.upper()) == (GOOD, GOOD.upper())
    assert identities.spellings(mixed) == (mixed.lower(), mixed.upper(), mixed)
    assert identities.earlier_spelling(GOOD) == GOOD.upper()
    for text in ("Ada", "A" * 36, GOOD.upper().replace("-", ""), GOOD + "\n", digits):
        assert identities.canonical(text) == text
        assert identities.spellings(text) == (text,)
        assert identities.earlier_spelling(text) is None
    assert identities.earlier_spelling(GOOD.upper()) is identities.earlier_spelling(mixed) is None
