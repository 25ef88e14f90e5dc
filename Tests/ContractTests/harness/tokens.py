"""Mints JWTs with nothing but the standard library, so that Skein's idea of one is checked against
another's."""

import base64
import hashlib
import hmac
import json
import time

SECRET = "contract-tests-secret-of-more-than-32-bytes"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(part: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def sign(signing_input: str, secret: str, algorithm="sha256") -> str:
    return encode(hmac.new(secret.encode(), signing_input.encode(), algorithm).digest())


def token(user=None, *, ttl=3600, secret=SECRET, alg="HS256", digest="sha256", **claims) -> str:
    """A token for `user`; a claim given as None is left out."""
    body = {"sub": user, "exp": int(time.time()) + ttl, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    head = encode(json.dumps({"alg": alg, "typ": "JWT"}).encode())
    signing_input = f"{head}.{encode(json.dumps(body).encode())}"
    signature = "" if alg.lower() == "none" else sign(signing_input, secret, digest)
    return f"{signing_input}.{signature}"


def claims_of(text: str, secret=SECRET) -> dict:
    """The claims of an HS256 token whose signature holds."""
    head, body, signature = text.split(".")
    assert decode(head)["alg"] == "HS256"
    assert hmac.compare_digest(sign(f"{head}.{body}", secret), signature), "wrong signature"
    return decode(body)
