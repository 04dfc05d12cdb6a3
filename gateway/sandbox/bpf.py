"""The seccomp filter compiled for drivers without an engine, by the host's libseccomp. It must not know
drivers.
"""

import ctypes
import ctypes.util
import json
import os
from functools import cache
from typing import Any

__all__ = ["compiled_filter"]

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
OPTIMIZE = 8
BINARY_TREE = 2
OPERATORS = {"SCMP_CMP_NE": 1, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@cache
def compiled_filter(profile: str) -> bytes | None:
    """The filter as a BPF program for this machine, or None where the host has no libseccomp.

    Raises OSError when the library will not take the profile: then nothing may run with it.
    """
    name = ctypes.util.find_library("seccomp")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    library.seccomp_init.restype = ctypes.c_void_p
    wanted: dict[str, Any] = json.loads(profile)
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ERRNO | wanted["defaultErrnoRet"])))
    if not context:
        raise OSError("libseccomp gave no filter")
    try:
        _checked(library.seccomp_attr_set(context, OPTIMIZE, ctypes.c_uint32(BINARY_TREE)), "optimize")
        for rule in wanted["syscalls"]:
            _add(library, context, rule)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, rule: dict[str, Any]) -> None:
    action = ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else ERRNO | int(rule["errnoRet"])
    comparisons = (_Comparison * len(rule["args"]))(
        *(
            _Comparison(item["index"], OPERATORS[item["op"]], item["value"], item.get("valueTwo", 0))
            for item in rule["args"]
        )
    )
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue
        code = library.seccomp_rule_add_array(
            context, ctypes.c_uint32(action), number, ctypes.c_uint(len(comparisons)), comparisons
        )
        _checked(code, name)


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
    try:
        _checked(library.seccomp_export_bpf(context, descriptor), "export")
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)


def _checked(code: int, what: str) -> None:
    if code != 0:
        raise OSError(-code, f"libseccomp refused {what}: {os.strerror(-code)}")
