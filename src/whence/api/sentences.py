"""The route of the words by which events read as sentences, for programs that make the sentences themselves."""

from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of
from whence.api.operation import Operation, ResponseSpec
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.wire.bodies import SentencesBody
from whence.wire.query import refuse_parameters
from whence.wire.sentences import encode_sentences

__all__ = ["ROUTES"]

_CACHE_CONTROL = "private, max-age=300"
"""The words change only when the server is started with others."""


@HTTPRouteHandler(
    "/api/v1/sentences",
    http_method=["GET", "HEAD"],
    status_code=200,
    opt={
        "operation": Operation(
            tag="Service",
            summary="Get Sentences",
            description="For every valid credential, whatever its scopes.",
            responses={
                200: ResponseSpec("The words in force", SentencesBody),
                304: ResponseSpec("If-None-Match names the ETag that the answer still has"),
            },
            errors=(422,),
        ),
        "etag": True,
        "cache_control": _CACHE_CONTROL,
    },
)
async def get_sentences(request: Request) -> JsonResponse:
    """The words by which events read as sentences: the built-in ones, and those that the operator added."""
    refuse_parameters(request.scope["query_string"])
    return JsonResponse(encode_sentences(context_of(request).grammar))


ROUTES: list[HTTPRouteHandler] = [get_sentences]
"""The handlers of this module."""
