"""How events are divided into batches, and how filters become parameters."""

from whence.client.requests import SEND_EVENTS_MAX, first_batch, list_request

MIB = 1024 * 1024


def test_a_batch_is_bounded_in_events_and_bytes() -> None:
    """A batch never exceeds what the server accepts, unless a single event does."""
    assert first_batch([]) == []
    assert first_batch([b"{}"] * (SEND_EVENTS_MAX + 1)) == [b"{}"] * SEND_EVENTS_MAX
    large, too_large = b"x" * (3 * MIB), b"x" * (5 * MIB)
    assert first_batch([b"{}", large, large]) == [b"{}", large]
    assert first_batch([too_large, b"{}"]) == [too_large]


def test_payload_values_are_a_parameter_each() -> None:
    """With the path in its name. An empty list is sent as an empty value, which the server refuses."""
    asked = list_request(payload={"tool": "search", "order.currency": ["EUR", "USD"], "none": []}, outcome="failure")
    assert asked.query == (
        ("payload.tool", "search"),
        ("payload.order.currency", "EUR"),
        ("payload.order.currency", "USD"),
        ("payload.none", ""),
        ("outcome", "failure"),
    )
