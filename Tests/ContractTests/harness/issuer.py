"""Issuers of tokens with keys of their own, and the authorities of certificates: by `cryptography`
and PyJWT, so that Skein's reading of keys is checked against another's."""

import datetime
import http.server
import ipaddress
import json
import threading
import time

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ALGORITHMS = ("RS256", "ES256", "EdDSA")
PEM = serialization.Encoding.PEM


class Issuer:
    """One key pair."""

    def __init__(self, algorithm, kid=None):
        self.algorithm, self.kid = algorithm, kid
        make = {
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        self.key = make[algorithm]()

    def token(self, user, *, ttl=3600, kid=None, **claims) -> str:
        claims = {"sub": user, "exp": int(time.time()) + ttl, **claims}
        kid = kid or self.kid
        headers = {"kid": kid} if kid else None
        return jwt.encode(claims, self.key, self.algorithm, headers)

    @property
    def pem(self) -> str:
        public = self.key.public_key()
        return public.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def jwk(self) -> dict:
        kinds = {"RS256": jwt.algorithms.RSAAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}
        kind = kinds.get(self.algorithm, jwt.algorithms.OKPAlgorithm)
        jwk = kind.to_jwk(self.key.public_key(), as_dict=True)
        return {**jwk, "alg": self.algorithm, "use": "sig", **({"kid": self.kid} if self.kid else {})}


def key_set(*issuers) -> str:
    return json.dumps({"keys": [issuer.jwk for issuer in issuers]})


class KeyServer:
    """Serves a JWKS: whatever `body` and `status` are when it is asked."""

    def __init__(self, body, status=200):
        self.body, self.status, self.asked = body, status, 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked += 1
                body = server.body.encode()
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/jwks.json"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Authority:
    """Signs certificates, and writes them where a node or a tool can read them."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.sign(self.key.public_key(), name, self.key, None, is_authority=True)
        self.path = self.write(f"{name}.pem", self.certificate.public_bytes(PEM))

    def sign(self, public_key, name, key, issuer, is_authority=False):
        now = datetime.datetime.now(datetime.timezone.utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if not is_authority:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        return builder.sign(key, hashes.SHA256())

    def issue(self, name) -> tuple[str, str]:
        """The paths of a certificate of this authority and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.sign(key.public_key(), name, self.key, self.certificate.subject)
        secret = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self.write(f"{name}.pem", certificate.public_bytes(PEM)), self.write(f"{name}.key", secret)

    def write(self, name, data) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)
