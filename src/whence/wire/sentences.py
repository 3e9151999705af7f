"""The words of sentences as JSON, in the form of the file that adds to them."""

import msgspec

from whence.sentences import Grammar
from whence.wire.bodies import SentenceGrammarBody, SentencesBody

__all__ = ["encode_sentences"]


def encode_sentences(grammar: Grammar) -> bytes:
    """The body of the sentences route."""
    words = {name: getattr(grammar, name) for name in SentenceGrammarBody.__struct_fields__}
    return msgspec.json.encode(
        SentencesBody(
            detail_texts=dict(grammar.detail_texts),
            grammar=SentenceGrammarBody(**words),
            object_texts=dict(grammar.object_texts),
            unquoted=dict(grammar.unquoted),
            unquoted_objects=dict(grammar.unquoted_objects),
            verbs=dict(grammar.verbs),
        )
    )
