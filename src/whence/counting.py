"""Numbers with their nouns, for messages to people. Pure."""

__all__ = ["counted"]


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 event`, `2,000 events`. `plural` is needed where it is not the noun with an s.

    A verb may follow the noun in both: `counted(lost, "event was", "events were")`.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
