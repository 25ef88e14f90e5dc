"""A peer on the other end of a cable: in a network namespace of its own, which can be cut off without
a word to anyone. Needs root and `ip`."""

import contextlib
import ctypes
import os
import subprocess
import threading

NEW_NETWORK = 0x40000000


class Away:
    """`near` is this machine's address on the cable, `far` the peer's."""

    near, far = "198.18.7.1", "198.18.7.2"

    def __init__(self):
        # Two test runs on one machine would take each other's addresses, not each other's names.
        self.name = f"skein{os.getpid()}"
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"], stdout=subprocess.PIPE)
        self.process.stdout.readline()
        try:
            self.ip("link", "add", self.name, "type", "veth", "peer", "name", "far", "netns", str(self.process.pid))
            self.ip("address", "add", f"{self.near}/30", "dev", self.name)
            self.ip("link", "set", self.name, "up")
            self.there("ip", "address", "add", f"{self.far}/30", "dev", "far")
            self.there("ip", "link", "set", "far", "up")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def possible() -> bool:
        return os.geteuid() == 0 and subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True)

    def there(self, *command):
        subprocess.run(["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command], check=True)

    def run(self, action):
        """What `action` returns, whose sockets are the peer's: namespaces are the thread's own."""
        result = []

        def body():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/proc/{self.process.pid}/ns/net") as network:
                if libc.setns(network.fileno(), NEW_NETWORK):
                    result.append(OSError(ctypes.get_errno(), "setns"))
                    return
            try:
                result.append(action())
            except Exception as error:
                result.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    def vanish(self):
        """Packets reach it still, and nobody is there who would answer."""
        self.there("ip", "address", "flush", "dev", "far")

    def close(self):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.ip("link", "delete", self.name)
