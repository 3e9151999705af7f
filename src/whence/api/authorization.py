"""What every request passes before its handler: authentication, its turn on the event loop, and the scope."""

from whence.api.context import context_of, now_us
from whence.api.operation import announce_deprecations
from whence.api.request import Request
from whence.errors import Forbidden
from whence.permissions import READ

__all__ = ["authorize", "authorize_again", "authorize_now"]


async def authorize(request: Request) -> None:
    """Authenticate the request, wait for its turn, and check the scope that its route names, unless the route is open.
    Before that, announce what of the request is deprecated.

    A hook before every handler, since Litestar's guards would copy the handler for each request.
    """
    opt = request.scope["route_handler"].opt
    if "operation" in opt and opt["operation"].announces:
        announce_deprecations(opt["operation"], request)
    if request.method == "OPTIONS" or opt.get("open"):
        return
    principal = await context_of(request).authenticator.authenticate(request)
    request.scope["state"]["principal"] = principal
    await context_of(request).admission.rounds.begin(principal.tenant)
    if "scope" in opt:
        principal.require(opt["scope"])
        if opt["scope"] == READ:
            path = request.scope["state"]["public_path"]
            await context_of(request).recorder.read(principal, path, request.scope["query_string"], now_us())


def authorize_now(request: Request) -> bool:
    """As `authorize`, if nothing of it has to wait. If False, nothing was decided and `authorize` has to be called.
    Raises Forbidden."""
    opt, context = request.scope["route_handler"].opt, context_of(request)
    if "operation" in opt and opt["operation"].announces:
        return False
    if opt.get("open"):
        return True
    if "scope" not in opt or (opt["scope"] == READ and context.recorder.records_reads):
        return False
    principal = context.authenticator.known(request)
    if principal is None or not context.admission.rounds.has_time():
        return False
    request.scope["state"]["principal"] = principal
    principal.require(opt["scope"])
    return True


async def authorize_again(request: Request) -> None:
    """Authenticate the request once more, since it was long ago when the handler goes on. Raises Unauthenticated when
    the credential ended meanwhile, and Forbidden when it is for something else now. A route that is open goes on."""
    principal = request.scope["state"].get("principal")
    if principal is None:
        return
    again = await context_of(request).authenticator.authenticate(request)
    if (again.tenant, again.scopes) != (principal.tenant, principal.scopes):
        raise Forbidden("What this credential may do has changed.")
