"""The outcome that an event type implies."""

import pytest

from whence.catalog import CATALOG, outcome_of
from whence.events import ResourceType, Vocabulary, is_event_type


@pytest.mark.parametrize(
    ("event_type", "outcome"),
    [
        ("action_run.completed", "success"),
        ("action_run.compensation_failed", "failure"),
        ("automation.trigger_skipped", "none"),
        ("schedule.missed", "failure"),
        ("schedule.fired", "none"),
        ("decision.rejected", "none"),
        ("a.submitted.complete", "success"),
        ("invoice.reminder_timed_out", "failure"),
        ("invoice.timed_out", "failure"),
        ("invoice.delivered", "success"),
        ("invoice.was_cancelled", "none"),
        ("invoice.failed.reported", "none"),
        ("invoice.incomplete", "none"),
        ("o.sent_back.complete", "success"),
        ("o.sent_back", "none"),
    ],
)
def test_outcomes(event_type: str, outcome: str) -> None:
    """The outcome follows from the catalogue, else from the last word of the last segment, else it is none."""
    assert outcome_of(event_type) == outcome


def test_the_catalogue_is_in_the_grammar_and_covers_every_resource_type() -> None:
    """Each catalogued type is a valid event type, and each built-in resource type has some."""
    assert all(is_event_type(name) for name in CATALOG)
    nouns = {name.split(".")[0] for name in CATALOG}
    assert {str(name) for name in ResourceType} <= nouns


def test_an_operator_adds_words_in_one_place() -> None:
    """Additions come after the built-in values; a value outside the grammar is refused."""
    words = Vocabulary.extended(["invoice", "decision"], ["robot"])
    assert words.resource_types[-1] == "invoice"
    assert words.resource_types.count("decision") == 1
    assert words.actor_types[-1] == "robot"
    with pytest.raises(ValueError, match="must match"):
        Vocabulary.extended(["No Good"])
