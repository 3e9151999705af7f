"""Emit for many tenants from one backend. It uses a short-lived token for each tenant.

Needs an operator's key in WHENCE_API_KEY, or a server that has the same WHENCE_JWT_SECRET as this program. WHENCE_URL
names the server.
"""

from uuid import uuid4

from whence import Whence


def main() -> None:
    """Emit one event for each of three tenants, and count the events of each."""
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
