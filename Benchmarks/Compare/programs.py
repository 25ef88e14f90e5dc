"""The programs that are compared: what they need of Debian and PyPI, and how they are built."""
import os
import platform
import shlex
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, ".build", "compare")
TOOLS = os.path.join(ROOT, ".build", "benchmarks")


class NotAvailable(Exception):
    """This server or setting is not to be had here; the message says why, for the table."""


# What carries uWebSockets 20 with its C interface, and the sum of that archive.
UWS_PACKAGE = ("socketify==0.0.31 "
               "--hash=sha256:7502bed5b382e75f04ea3c6d6b53b76f27bb8653740db92e3f2b55fab388df20")
UWS_LIBRARY = "socketify/libsocketify_linux_amd64.so"

# What Debian 12 calls what a program needs to be built and run.
PACKAGES = {
    "load": ["gcc", "make", "libc6-dev", "libssl-dev", "liburing-dev", "openssl", "util-linux"],
    "uws": ["gcc", "libc6-dev", "libuv1", "python3-pip", "zlib1g"],
    "go": ["golang-go", "golang-github-gorilla-websocket-dev",
           "golang-github-gomodule-redigo-dev"],
    "node": ["nodejs", "node-ws"],
    "nchan": ["nginx-light", "libnginx-mod-nchan"],
    "nats": ["nats-server"],
    "redis": ["redis-server"],
}


def packages_for(servers):
    wanted = list(PACKAGES["load"])
    for server in servers:
        wanted += PACKAGES.get(server.program, [])
        if server.backplane == "redis":
            wanted += PACKAGES["redis"]
    return sorted(set(wanted))


def install(servers):
    packages = shlex.join(packages_for(servers))
    subprocess.run(["bash", "-c", f"set -euo pipefail; source {shlex.quote(ROOT)}/Ops/lib.sh; "
                    f"install_missing {packages}"], check=True)


def quietly(command, what, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        raise NotAvailable(f"{what}: {' '.join((done.stderr or done.stdout).split())[-300:]}")


def hub_binary():
    return os.path.join(BUILD, "hub")


def nio_binary():
    return os.path.join(BUILD, "nio", "release", "Server")


def uws_binary():
    return os.path.join(BUILD, "uws", "server")


def make_uws(options):
    """uWebSockets is not in Debian; PyPI has it in a package for Python, of which only the library is used."""
    if platform.machine() != "x86_64":
        raise NotAvailable(f"its package has no library for {platform.machine()}")
    directory = os.path.dirname(uws_binary())
    library = os.path.join(directory, UWS_LIBRARY)
    if not is_installed(directory):
        if options.no_install:
            raise NotAvailable("not installed")
        fetch_uws(directory)
    quietly(["gcc", "-O2", "-Wall", "-Wextra", "-o", uws_binary(), os.path.join(HERE, "UWebSockets", "server.c"),
             library, f"-Wl,-rpath,{os.path.dirname(library)}"], "gcc")


def is_installed(directory):
    """Whole, and the version that is asked for: that file comes with everything else or not at all."""
    try:
        with open(os.path.join(directory, "requirements.txt")) as file:
            return file.read() == UWS_PACKAGE + "\n"
    except OSError:
        return False


def fetch_uws(directory):
    new = directory + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    with open(os.path.join(new, "requirements.txt"), "w") as file:
        file.write(UWS_PACKAGE + "\n")
    quietly([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
             "--no-deps", "--target", new, "--require-hashes", "-r", file.name], "pip install")
    shutil.rmtree(directory, ignore_errors=True)
    os.rename(new, directory)


def make_ready(program, options):
    """Builds what has to be built, or raises NotAvailable."""
    if program == "go":
        environment = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="",
                           GOCACHE=os.path.join(BUILD, "go-cache"))
        if not shutil.which("go"):
            raise NotAvailable("no `go`")
        quietly(["go", "build", "-o", hub_binary(), os.path.join(HERE, "Go", "hub.go")], "go build",
                env=environment)
    elif program == "uws":
        make_uws(options)
    elif program == "nio":
        # The build tool looks at every package again; the sources say whether it needs to.
        sources = [os.path.join(folder, name) for folder, _, names in
                   os.walk(os.path.join(HERE, "NIO")) for name in names if name.endswith(".swift")]
        newest = max(os.path.getmtime(source) for source in sources)
        if os.path.exists(nio_binary()) and os.path.getmtime(nio_binary()) > newest:
            return
        if not shutil.which("swift"):
            raise NotAvailable("no `swift`")
        quietly(["swift", "build", "-c", "release", "--package-path", os.path.join(HERE, "NIO"),
                 "--scratch-path", os.path.join(BUILD, "nio")], "swift build")
    elif program == "skein":
        if not os.access(options.skein, os.X_OK):
            raise NotAvailable(f"no {options.skein} (swift build -c release --product skein)")
    elif program in ("node", "nats", "nchan"):
        command = {"node": "node", "nats": "nats-server", "nchan": "nginx"}[program]
        if not (shutil.which(command) or shutil.which(command, path="/usr/sbin")):
            raise NotAvailable(f"no `{command}`")


def versions(servers, options):
    """What was compared, for the results."""
    commands = {"go": ["go", "version"], "node": ["node", "--version"],
                "nats": ["nats-server", "--version"], "nchan": ["/usr/sbin/nginx", "-v"],
                "skein": [options.skein, "--version"]}
    found = {}
    for program in sorted({server.program for server in servers} & set(commands)):
        done = subprocess.run(commands[program], capture_output=True, text=True)
        found[program] = (done.stdout + done.stderr).strip()
    if any(server.program == "uws" for server in servers):
        found["uws"] = f"uWebSockets 20 on libuv ({UWS_PACKAGE.split()[0]})"
    packages = [name for names in PACKAGES.values() for name in names]
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages],
                          capture_output=True, text=True)
    found["packages"] = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    return found
