"""A clock that is ahead, for this process only. The monotonic clock stays as it is.

Call it before other libraries are imported: they keep the functions that they found. libfaketime will not do, because
`time.sleep` fails under it since Python 3.11, and lock timeouts may never end.
"""

import datetime
import time

__all__ = ["put_ahead"]


def put_ahead(seconds: float) -> None:
    """Let `time.time`, `time.time_ns` and the `datetime` constructors of the present give a later time."""
    real, real_time, real_time_ns = datetime.datetime, time.time, time.time_ns
    ahead = datetime.timedelta(seconds=seconds)

    class AheadType(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real)

    class Ahead(real, metaclass=AheadType):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return real.now(tz) + ahead

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return real.now(datetime.UTC).replace(tzinfo=None) + ahead

        @classmethod
        def today(cls) -> datetime.datetime:
            return cls.now()

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + int(seconds * 1e9)
    datetime.datetime = Ahead
