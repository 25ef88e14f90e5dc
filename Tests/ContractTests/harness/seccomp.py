"""Turns a container runtime's seccomp profile into a filter of this process, by libseccomp, as a runtime
would for a container without capabilities. For `launch.py --seccomp`."""

import ctypes
import json
import platform
from pathlib import Path

ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000}
COMPARISONS = {"SCMP_CMP_NE": 1, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Argument(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def action(name, errno):
    return ACTIONS[name] | (errno or 0 if name == "SCMP_ACT_ERRNO" else 0)


def load(path):
    """From here on this process, and what it becomes, may do only what the profile allows."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    profile = json.loads(Path(path).read_text())
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    for rule in profile["syscalls"]:
        arches = rule.get("includes", {}).get("arches")
        if arches and ARCHITECTURES[platform.machine()] not in arches:
            continue
        wanted = action(rule["action"], rule.get("errnoRet"))
        if wanted == default:
            continue
        arguments = (Argument * 6)()
        for place, argument in enumerate(rule.get("args", [])):
            values = argument["value"], argument["valueTwo"]
            arguments[place] = Argument(argument["index"], COMPARISONS[argument["op"]], *values)
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number < 0:  # not on this architecture, or newer than this library
                continue
            status = library.seccomp_rule_add_array(
                context, ctypes.c_uint32(wanted), number, len(rule.get("args", [])), arguments
            )
            if status:
                raise OSError(-status, f"seccomp rule for {name}")
    status = library.seccomp_load(context)
    if status:
        raise OSError(-status, "seccomp_load")
