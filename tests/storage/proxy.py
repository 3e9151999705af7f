"""A TCP proxy in front of PostgreSQL that can refuse, stall and cut connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs, unquote, urlsplit


class Proxy:
    """Forwards bytes in both directions.

    `refusing`: new connections are refused. `stall()`: no bytes pass either way, and connections stay open. `cut_at`: a
    connection whose client sends these bytes is cut after they are forwarded and before any answer.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._host = unquote(options.get("host", parts.hostname or "127.0.0.1"))
        self._port = parts.port or 5432
        self._login = parts.username or "postgres"
        self._password = parts.password
        self._database = parts.path
        self.refusing = False
        self.cut_at: bytes | None = None
        self.cuts = 0
        self._going = asyncio.Event()
        self._going.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    @property
    def url(self) -> str:
        """The URL of the database through the proxy."""
        port = self._server.sockets[0].getsockname()[1]
        password = f":{self._password}" if self._password else ""
        return f"postgresql://{self._login}{password}@127.0.0.1:{port}{self._database}"

    def lose(self) -> None:
        """Cut every connection and refuse new ones."""
        self.refusing = True
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        for writer in list(self._open):
            writer.transport.abort()

    def stall(self) -> None:
        self._going.clear()

    def mend(self) -> None:
        """Forward everything again."""
        self.refusing = False
        self.cut_at = None
        self._going.set()

    async def close(self) -> None:
        self.mend()
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._going.wait()
        if self.refusing:
            writer.transport.abort()
            return
        if self._host.startswith("/"):
            path = f"{self._host}/.s.PGSQL.{self._port}"
            their_reader, their_writer = await asyncio.open_unix_connection(path)
        else:
            their_reader, their_writer = await asyncio.open_connection(self._host, self._port)
        self._open |= {writer, their_writer}
        for source, target, is_client in ((reader, their_writer, True), (their_reader, writer, False)):
            task = asyncio.create_task(self._forward(source, target, (writer, their_writer), is_client=is_client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        is_client: bool,
    ) -> None:
        try:
            while data := await source.read(65_536):
                await self._going.wait()
                target.write(data)
                await target.drain()
                if is_client and self.cut_at is not None and self.cut_at in data:
                    self.cuts += 1
                    both[0].transport.abort()
                    await asyncio.sleep(0.05)  # gives the server time to read it
                    break
        except OSError:
            pass
        finally:
            for writer in both:
                self._open.discard(writer)
                with contextlib.suppress(OSError):
                    writer.close()


@contextlib.asynccontextmanager
async def proxied(url: str, opening: Callable[[str], Proxy] = Proxy) -> AsyncIterator[Proxy]:
    """A proxy in front of the database of this URL."""
    proxy = opening(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
