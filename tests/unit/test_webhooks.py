"""Signatures of webhooks, compared with the package of the standard, and the schedule of attempts."""

import base64
import datetime as dt
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as StandardWebhook
from standardwebhooks.webhooks import WebhookVerificationError

from tests.unit.mutants import PROPERTY, catches, replaced
from whence import webhooks
from whence.errors import BadSignature
from whence.webhooks import ATTEMPTS_MAX, SCHEDULE_S, new_secret, secret_bytes, sign, signed_headers, verify, wait_s

ID = "01941f29-7fe8-7aaa-8000-000000000002"
BODY = '{"type":"a.b","data":{"name":"Zoë"}}'.encode()
NOW = 1_767_323_045
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def headers(**changes: str) -> dict[str, str]:
    """The headers of a message that is signed correctly."""
    return signed_headers(ID, NOW, BODY, [SECRET]) | {
        f"webhook-{name}": value for name, value in changes.items() if value is not None
    }


def test_a_signature_is_the_one_of_the_standard() -> None:
    """The vector of its specification."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signature = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, secret)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@PROPERTY
@given(text=st.text(), message_id=st.uuids(), key=st.binary(min_size=24, max_size=64))
def test_the_package_of_the_standard_signs_and_verifies_the_same(text: str, message_id: Any, key: bytes) -> None:
    """Whatever the body, the id and the secret are."""
    secret, body = "whsec_" + base64.b64encode(key).decode(), json.dumps({"text": text}, ensure_ascii=False)
    now = int(time.time())
    ours = signed_headers(str(message_id), now, body.encode("utf-8", "replace"), [secret])
    if body.encode("utf-8", "replace").decode() == body:
        theirs = StandardWebhook(secret)
        assert theirs.verify(body, ours) == json.loads(body)
        signed = theirs.sign(str(message_id), dt.datetime.fromtimestamp(now, tz=dt.UTC), body)
        assert verify(body, ours | {"webhook-signature": signed}, secret) == json.loads(body)


def test_a_message_is_signed_with_every_valid_secret() -> None:
    """So either secret verifies while one is replaced, here and with the package of the standard."""
    old, new, now = new_secret(), new_secret(), int(time.time())
    sent = signed_headers(ID, now, BODY, [new, old])
    for secret in (old, new):
        assert verify(BODY, sent, secret) == json.loads(BODY)
        assert StandardWebhook(secret).verify(BODY.decode(), sent) == json.loads(BODY)
    with pytest.raises(BadSignature):
        verify(BODY, sent, new_secret())
    with pytest.raises(WebhookVerificationError):
        StandardWebhook(new_secret()).verify(BODY.decode(), sent)
    only_new = signed_headers(ID, now, BODY, [new])
    assert verify(BODY, only_new, [old, new]) == json.loads(BODY)


@catches(
    replaced(webhooks, "TOLERANCE_S", 10_000, "a_late_copy_is_accepted"),
    replaced(webhooks.hmac, "compare_digest", lambda _a, _b: True, "any_signature_matches"),
)
def test_what_is_not_signed_so_is_refused() -> None:
    """Another body, id, time or secret; a header that lacks; a time that is too far away; each by one sentence."""
    assert verify(BODY, headers(), SECRET, now=NOW) == json.loads(BODY)
    assert verify(BODY.decode(), {name.title(): value for name, value in headers().items()}, SECRET, now=NOW + 299)
    signature = headers()["webhook-signature"]
    refused: list[tuple[bytes, dict[str, str], str | list[str], float]] = [
        (BODY + b" ", headers(), SECRET, NOW),
        (BODY, headers(id="another"), SECRET, NOW),
        (BODY, headers(timestamp=str(NOW + 1)), SECRET, NOW),
        (BODY, headers(), new_secret(), NOW),
        (BODY, headers(), [], NOW),
        (BODY, headers(signature=signature.replace("v1,", "v2,")), SECRET, NOW),
        (BODY, headers(signature=signature[:-2]), SECRET, NOW),
        (BODY, headers(signature="v1,é"), SECRET, NOW),
        (BODY, headers(signature="v1,\udcff"), SECRET, NOW),
        (BODY, headers(), SECRET, NOW + 301),
        (BODY, headers(), SECRET, NOW - 301),
        (BODY, headers(timestamp="1e9"), SECRET, NOW),
        (BODY, headers(timestamp="-5"), SECRET, NOW),
        (BODY, headers(timestamp="9" * 400), SECRET, NOW),
        (b"no JSON", signed_headers(ID, NOW, b"no JSON", [SECRET]), SECRET, NOW),
        *((BODY, {k: v for k, v in headers().items() if k != name}, SECRET, NOW) for name in headers()),
    ]
    for body, sent, secret, now in refused:
        with pytest.raises(BadSignature) as caught:
            verify(body, sent, secret, now=now)
        assert str(caught.value).endswith(".") and SECRET not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "whsec_" + "A" * 4 * 22])
def test_a_secret_has_24_to_64_bytes(secret: str) -> None:
    """Another text is refused with a sentence that does not repeat it."""
    with pytest.raises(BadSignature) as caught:
        secret_bytes(secret)
    assert not secret or secret == "whsec_" or secret not in str(caught.value)


def test_a_new_secret_is_one() -> None:
    """32 bytes, another each time."""
    assert len(secret_bytes(new_secret())) == 32
    assert new_secret() != new_secret()


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair, also after one that matches."""
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    sent = signed_headers(ID, NOW, BODY, [SECRET, new_secret()])
    verify(BODY, sent, [SECRET, new_secret()], now=NOW)
    assert len(compared) == 4


def test_the_schedule_is_the_documented_one() -> None:
    """Eight attempts, a day and some hours, each wait at most 10 % longer or shorter."""
    assert SCHEDULE_S == (0, 5, 300, 1800, 7200, 18000, 36000, 36000)
    assert [wait_s(attempts, 0.5) for attempts in range(ATTEMPTS_MAX)] == list(map(float, SCHEDULE_S))
    assert wait_s(ATTEMPTS_MAX, 0.5) is None
    waits = [wait_s(1, 0.0), wait_s(1, 0.999_999)]
    assert waits[0] == pytest.approx(4.5) and waits[1] == pytest.approx(5.5, abs=0.01)
