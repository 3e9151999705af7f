"""A backend that emits for many tenants, with short tokens that it signs itself, and a spool for each.

Needs a server that shares the secret: WHENCE_URL and WHENCE_JWT_SECRET, for both.
"""

from uuid import uuid4

from whence import Whence


def main() -> None:
    """Emit for three tenants; nothing of one is seen by another."""
    with Whence(on_error=lambda error: print("not stored:", error)) as backend:
        for tenant in ("acme", "umbrella", "wayne"):
            log = backend.for_tenant(tenant)
            log.emit("connection.created", actor=("user", "ana"), resource=("connection", uuid4()))
        for tenant in ("acme", "umbrella", "wayne"):
            log = backend.for_tenant(tenant)
            log.flush()
            print(tenant, log.list().total)


if __name__ == "__main__":
    main()
