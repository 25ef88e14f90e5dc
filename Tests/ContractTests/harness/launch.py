"""Becomes the given command after setting what only a process can set for itself: that it dies with
the test run, how many descriptors it may have, that the kernel denies it io_uring, or all that a seccomp
profile does not allow. It runs on its own because code between fork and exec of a threaded process is
not safe.

    launch.py PARENT_PID [--nofile N] [--deny-io-uring ERRNO] [--seccomp PROFILE] -- COMMAND…
"""

import ctypes
import os
import resource
import signal
import struct
import sys

import seccomp

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
IO_URING_SETUP = 425  # the same number on every architecture

libc = ctypes.CDLL(None, use_errno=True)


def prctl(option, *arguments):
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *words) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def deny_io_uring(errno):
    """A seccomp filter as Docker's default profile has it: io_uring_setup fails with `errno`."""
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    allow, fail = 0x7FFF0000, 0x00050000
    program = b"".join(
        struct.pack("<HBBI", *line)
        for line in [
            (load, 0, 0, 0),  # the system call's number
            (jump_if_equal, 0, 1, IO_URING_SETUP),
            (give, 0, 0, fail | errno),
            (give, 0, 0, allow),
        ]
    )
    lines = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(lines))
    pointer = ctypes.create_string_buffer(header, len(header))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(pointer))


def main():
    options, command = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(options[0]):
        sys.exit("the test run was over before this began")
    # A shell starts what it puts into the background with SIGINT ignored, and that is inherited: the
    # command begins as from a terminal, however the tests were started.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name, value in zip(options[1::2], options[2::2], strict=True):
        if name == "--nofile":
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(value), int(value)))
        elif name == "--deny-io-uring":
            deny_io_uring(int(value))
        elif name == "--seccomp":
            seccomp.load(value)
        else:
            sys.exit(f"unknown option {name}")
    os.execvpe(command[0], command, os.environ)


main()
