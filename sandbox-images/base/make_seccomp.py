"""Write seccomp.json: the system calls a sandbox may make. Run it after a change and commit the result.

An allow list, grouped by what the calls are for, so that a reviewer can ask of every group "why does an
agent's build, test or shell need this?". Everything absent fails with EPERM; a few absences answer ENOSYS,
because libraries then take their older path instead of giving up. The file uses only what runc 1.1 with
libseccomp 2.5 understands: one comparison per argument, rules of one call joined by OR, calls unknown to
the library skipped.

Only the native ABI is listed. The 32-bit and x32 tables would let a program reach the socket families
through `socketcall`, whose arguments a filter cannot see.
"""

import json
import sys
from pathlib import Path
from typing import Any

GROUPS: dict[str, str] = {
    "process": """
        arch_prctl capget capset execve execveat exit exit_group fork getegid geteuid getgid getgroups getpgid getpgrp
        getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid kill pidfd_open
        pidfd_send_signal prctl riscv_flush_icache seccomp set_robust_list get_robust_list set_tid_address setfsgid
        setfsuid setgid setgroups setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid
        tgkill times tkill umask uname vfork wait4 waitid rseq ioprio_get ioprio_set landlock_add_rule
        landlock_create_ruleset landlock_restrict_self process_mrelease""",
    "signals": """
        pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
        rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4""",
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap
        mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect""",
    "scheduling": """
        futex futex_requeue futex_wait futex_waitv futex_wake getcpu sched_get_priority_max
        sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
        sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
        sched_yield""",
    "time": """
        adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer
        gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun
        timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime""",
    "files": """
        access cachestat chdir chmod chown close close_range copy_file_range creat dup dup2 dup3
        faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat
        fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync
        ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch
        inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr link linkat listxattr
        listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat
        newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
        readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2
        rmdir setxattr setxattrat stat statfs statx symlink symlinkat sync sync_file_range syncfs
        truncate unlink unlinkat utime utimensat utimes write writev""",
    "descriptors": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
        eventfd2 ioctl pipe pipe2 poll ppoll pselect6 select sendfile splice tee vmsplice""",
    "asynchronous files": "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit",
    "sockets": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg
        sendmsg sendto setsockopt shutdown""",
    "local queues": """
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl
        semget semop semtimedop shmat shmctl shmdt shmget""",
    "machine facts": "getrandom sysinfo",
}

NO_SUCH_CALL = 38
"""ENOSYS: what a kernel without the call answers; libraries carry on without it."""

ANSWER_ENOSYS = "clone3 io_uring_enter io_uring_register io_uring_setup memfd_secret userfaultfd"

NEW_NAMESPACES = 0x7E020000 | 0x00000080
"""Mount, uts, ipc, user, pid, net, cgroup (and time) flags of `clone`."""

UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM = 1, 2
TYPE_BITS = 0xF
TCP, UDP = 6, 17
ROUTE = 0

PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0x40000, 0xFFFFFFFF)
"""Linux, its 32-bit look, UNAME26, without address randomisation (debuggers, some test suites), and "tell
me".
"""

REMOVED: dict[str, str] = {
    "ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_getfd, process_madvise": (
        "reading or steering another process; the toolhost is one of them (strace and gdb do not work)"
    ),
    "io_uring_setup, io_uring_enter, io_uring_register": (
        "large kernel surface that goes round the filter; ENOSYS, so libraries fall back"
    ),
    "socket: everything but UNIX, TCP and UDP over INET/INET6, NETLINK_ROUTE": (
        "AF_VSOCK is not namespaced; AF_ALG, AF_PACKET, AF_XDP, AF_BLUETOOTH, SCTP, raw and audit/netfilter netlink "
        "load or reach kernel code that a build never needs"
    ),
    "socketpair: everything but UNIX": "the same",
    "prlimit64 on another process": "a child could otherwise lower the toolhost's limits",
    "modify_ldt": "old x86 interface with a history of kernel bugs; no current program needs it",
    "32-bit and x32 tables": "`socketcall` hides its arguments; a 32-bit program is killed",
    "fanotify_mark, name_to_handle_at, lookup_dcookie, remap_file_pages": "needs privileges to be of use, or obsolete",
    "memfd_secret, userfaultfd": "help an exploit more than a build; ENOSYS",
}
"""What the distribution profile of the engine allows to an unprivileged container, and this one does not, and
why.
"""


def names(words: str) -> list[str]:
    return sorted(words.split())


def compare(index: int, value: int, masked: int | None = None) -> dict[str, Any]:
    """Argument equals `value`; with `masked`, the bits `value` of it equal `masked`."""
    if masked is not None:
        return {"index": index, "value": value, "valueTwo": masked, "op": "SCMP_CMP_MASKED_EQ"}
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def rule(call: str, *args: dict[str, Any], why: str) -> dict[str, Any]:
    return {"names": [call], "action": "SCMP_ACT_ALLOW", "args": list(args), "comment": why}


def socket_rules() -> list[dict[str, Any]]:
    rules = [
        rule("socket", compare(0, UNIX), why="local sockets"),
        rule("socket", compare(0, NETLINK), compare(2, ROUTE), why="interface look-ups of libc"),
        rule("socketpair", compare(0, UNIX), why="local pairs"),
    ]
    for family in (INET, INET6):
        for kind, protocol in ((STREAM, TCP), (DATAGRAM, UDP)):
            for number in (0, protocol):
                rules.append(
                    rule(
                        "socket",
                        compare(0, family),
                        compare(1, TYPE_BITS, masked=kind),
                        compare(2, number),
                        why="TCP and UDP",
                    )
                )
    return rules


def profile() -> dict[str, Any]:
    calls: list[dict[str, Any]] = [
        {"names": names(words), "action": "SCMP_ACT_ALLOW", "args": [], "comment": group}
        for group, words in GROUPS.items()
    ]
    calls.append(
        {
            "names": names(ANSWER_ENOSYS),
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": NO_SUCH_CALL,
            "args": [],
            "comment": "not there: libraries fall back",
        }
    )
    calls += socket_rules()
    calls.append(rule("clone", compare(0, NEW_NAMESPACES, masked=0), why="processes and threads, no namespaces"))
    calls.append(rule("prlimit64", compare(0, 0), why="own limits only"))
    calls += [rule("personality", compare(0, value), why="harmless personalities") for value in PERSONALITIES]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": calls,
    }


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("seccomp.json")
    target.write_text(json.dumps(profile(), indent=1) + "\n")


if __name__ == "__main__":
    main()
