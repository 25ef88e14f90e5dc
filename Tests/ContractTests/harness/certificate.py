"""A certificate for the loopback that clients of the tests trust, made anew for each use."""

import ssl
import subprocess
from pathlib import Path


class Certificate:
    """PEM files of a self-signed certificate and its key, in `folder`."""

    def __init__(self, folder, name="certificate", hosts=("localhost",)):
        self.certificate = Path(folder) / f"{name}.pem"
        self.key = Path(folder) / f"{name}.key"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        )
        names = ",".join(f"DNS:{host}" for host in hosts)
        command += f" -subj /CN={hosts[0]} -addext subjectAltName=IP:127.0.0.1,{names}"
        subprocess.run(
            [*command.split(), "-keyout", self.key, "-out", self.certificate],
            check=True,
            capture_output=True,
        )

    @property
    def settings(self) -> dict:
        """What makes a node serve TLS with it."""
        return {"WS_TLS_CERTIFICATE": str(self.certificate), "WS_TLS_KEY": str(self.key)}

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))
