//! The tables. Generated documentation shows them: `docs/sandbox.md`.

use super::{Call, Condition};

const fn call(name: &'static str, reason: &'static str) -> Call {
    Call { name, only: &[], restriction: "", old: false, reason }
}

/// One that only `x86_64` has.
const fn old(name: &'static str, reason: &'static str) -> Call {
    Call { name, only: &[], restriction: "", old: true, reason }
}

const fn only(name: &'static str, only: &'static [Condition], restriction: &'static str, reason: &'static str) -> Call {
    Call { name, only, restriction, old: false, reason }
}

/// All bits of the argument count.
const fn is(argument: u8, value: u32) -> Condition {
    Condition { argument, mask: u32::MAX, value }
}

const fn bits(argument: u8, mask: u32, value: u32) -> Condition {
    Condition { argument, mask, value }
}

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const AF_PACKET: u32 = 17;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
/// `IPPROTO_TCP`: others of that type, such as Multipath TCP, are not restricted by Landlock's rules for ports.
const TCP: u32 = 6;
/// Connects without `connect`, and so past Landlock.
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// The bits of a socket's type beside its flags.
const TYPE: u32 = 0xf;
const CLONE_THREAD: u32 = 0x0001_0000;
const PROT_EXEC: u32 = 4;
const WRITE_AND_EXEC: u32 = 6;
const PROT_WRITE: u32 = 2;
const PR_GET_DUMPABLE: u32 = 3;
const PR_SET_NAME: u32 = 15;
const PR_GET_NAME: u32 = 16;
const PR_CAPBSET_READ: u32 = 23;
const PR_GET_NO_NEW_PRIVS: u32 = 39;
/// Names of anonymous memory, which the C library gives.
const PR_SET_VMA: u32 = 0x5356_4d41;
const PR_SET_DUMPABLE: u32 = 4;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

/// What the daemon needs, with glibc or musl.
pub const ALLOWED: &[Call] = &[
    call("openat", "files are opened"),
    old("open", "files are opened"),
    call("close", "files are opened"),
    call("close_range", "files are opened"),
    call("read", "files, sockets and pipes are read"),
    call("readv", "files, sockets and pipes are read"),
    call("pread64", "files, sockets and pipes are read"),
    call("write", "files, sockets and pipes are written"),
    call("writev", "files, sockets and pipes are written"),
    call("pwrite64", "files, sockets and pipes are written"),
    call("pwritev", "files, sockets and pipes are written"),
    call("fstat", "what a file is: trust, rotation, change"),
    call("newfstatat", "what a file is: trust, rotation, change"),
    call("statx", "what a file is: trust, rotation, change"),
    old("stat", "what a file is: trust, rotation, change"),
    old("lstat", "what a file is: trust, rotation, change"),
    call("statfs", "what a file is: trust, rotation, change"),
    call("fstatfs", "what a file is: trust, rotation, change"),
    call("fgetxattr", "what a file is: trust, rotation, change"),
    call("getxattr", "what a file is: trust, rotation, change"),
    call("lgetxattr", "what a file is: trust, rotation, change"),
    call("listxattr", "what a file is: trust, rotation, change"),
    call("lseek", "the place in a file"),
    call("fcntl", "flags of descriptors, locks, seals"),
    call("flock", "flags of descriptors, locks, seals"),
    call("dup", "descriptors are copied; the terminal is left in the background"),
    call("dup3", "descriptors are copied; the terminal is left in the background"),
    old("dup2", "descriptors are copied; the terminal is left in the background"),
    call("getdents64", "what is in a directory"),
    call("getcwd", "what is in a directory"),
    call("readlinkat", "links are followed: who has a socket, which file counts"),
    old("readlink", "links are followed: who has a socket, which file counts"),
    call("faccessat", "whether a file may be read"),
    call("faccessat2", "whether a file may be read"),
    old("access", "whether a file may be read"),
    call("renameat", "logs are rotated, files are replaced whole, sockets removed"),
    call("renameat2", "logs are rotated, files are replaced whole, sockets removed"),
    old("rename", "logs are rotated, files are replaced whole, sockets removed"),
    call("linkat", "records of approvals are linked to their names, so that none is overwritten"),
    call("unlinkat", "logs are rotated, files are replaced whole, sockets removed"),
    old("unlink", "logs are rotated, files are replaced whole, sockets removed"),
    old("rmdir", "logs are rotated, files are replaced whole, sockets removed"),
    call("mkdirat", "the run directory is made again"),
    old("mkdir", "the run directory is made again"),
    call("fchmod", "modes of what is made"),
    call("fchmodat", "modes of what is made"),
    call("fchmodat2", "modes of what is made"),
    old("chmod", "modes of what is made"),
    call("umask", "modes of what is made"),
    call("fchown", "owners of what is made"),
    call("fchownat", "owners of what is made"),
    old("chown", "owners of what is made"),
    call("fsetxattr", "access control lists of what is made"),
    call("ftruncate", "files are written whole"),
    call("fsync", "files are written whole"),
    call("fdatasync", "files are written whole"),
    call("memfd_create", "credentials are handed over in sealed memory"),
    call("pipe2", "pipes between threads"),
    old("pipe", "pipes between threads"),
    call("ioctl", "control is needed of descriptors only: non-blocking, close-on-exec, identity of a process"),
    call("brk", "memory"),
    call("munmap", "memory"),
    call("mremap", "memory"),
    call("madvise", "memory"),
    call("mprotect", "memory is protected"),
    call("set_robust_list", "threads"),
    call("rseq", "threads"),
    call("futex", "threads"),
    call("sched_yield", "threads"),
    call("sched_getaffinity", "threads"),
    call("gettid", "threads"),
    call("set_tid_address", "threads"),
    call("membarrier", "threads"),
    call("getcpu", "threads"),
    call("exit", "the end"),
    call("exit_group", "the end"),
    call("tgkill", "an abort; signals to own threads"),
    call("tkill", "an abort; signals to own threads"),
    call("getpid", "an abort; signals to own threads"),
    call("rt_sigaction", "signals are handled"),
    call("rt_sigprocmask", "signals are handled"),
    call("rt_sigreturn", "signals are handled"),
    call("sigaltstack", "signals are handled"),
    call("restart_syscall", "signals are handled"),
    call("rt_sigtimedwait", "signals are handled"),
    call("clock_gettime", "time"),
    call("clock_getres", "time"),
    call("clock_nanosleep", "time"),
    call("nanosleep", "time"),
    call("gettimeofday", "time"),
    old("time", "time"),
    call("getrandom", "random numbers"),
    call("prlimit64", "limits are read"),
    call("getrlimit", "limits are read"),
    call("getrusage", "limits are read"),
    call("sysinfo", "limits are read"),
    call("uname", "limits are read"),
    call("getuid", "own identity"),
    call("geteuid", "own identity"),
    call("getgid", "own identity"),
    call("getegid", "own identity"),
    call("getgroups", "own identity"),
    call("getresuid", "own identity"),
    call("getresgid", "own identity"),
    call("getppid", "own identity"),
    call("capget", "own identity"),
    call("socketpair", "a pair of sockets for signals"),
    call("bind", "listeners of the admin socket, sockets of netlink and resolver are bound; TCP by Landlock's leave"),
    call("listen", "listeners of the admin socket, sockets of netlink and resolver are bound; TCP by Landlock's leave"),
    call("accept4", "connections are accepted"),
    call("accept", "connections are accepted"),
    call("connect", "upstreams, name servers, agents, the log"),
    call("getsockname", "who is at a connection"),
    call("getpeername", "who is at a connection"),
    call("getsockopt", "who is at a connection"),
    call("setsockopt", "options of sockets"),
    call("shutdown", "options of sockets"),
    only(
        "sendto",
        &[bits(3, MSG_FASTOPEN, 0)],
        "no connection",
        "messages: resolver, netlink, the service manager with descriptors",
    ),
    call("recvfrom", "messages: resolver, netlink, the service manager with descriptors"),
    only(
        "sendmsg",
        &[bits(2, MSG_FASTOPEN, 0)],
        "no connection",
        "messages: resolver, netlink, the service manager with descriptors",
    ),
    call("recvmsg", "messages: resolver, netlink, the service manager with descriptors"),
    only(
        "sendmmsg",
        &[bits(3, MSG_FASTOPEN, 0)],
        "no connection",
        "messages: resolver, netlink, the service manager with descriptors",
    ),
    call("recvmmsg", "messages: resolver, netlink, the service manager with descriptors"),
    call("epoll_create1", "events"),
    old("epoll_create", "events"),
    call("epoll_ctl", "events"),
    call("epoll_pwait", "events"),
    old("epoll_wait", "events"),
    call("epoll_pwait2", "events"),
    call("ppoll", "events"),
    old("poll", "events"),
    call("pselect6", "events"),
    old("select", "events"),
    call("eventfd2", "events"),
    call("timerfd_create", "clock steps and the suspend are noticed"),
    call("timerfd_settime", "clock steps and the suspend are noticed"),
    call("timerfd_gettime", "clock steps and the suspend are noticed"),
    call("pidfd_open", "a caller cannot become another process"),
    call("pidfd_send_signal", "a caller cannot become another process"),
    call("waitid", "a caller cannot become another process"),
    call("wait4", "a caller cannot become another process"),
    only("mmap", &[bits(2, WRITE_AND_EXEC, 0)], "to read", "memory"),
    only("mmap", &[bits(2, WRITE_AND_EXEC, PROT_WRITE)], "to write", "memory"),
    only(
        "mmap",
        &[bits(2, WRITE_AND_EXEC, PROT_EXEC)],
        "to execute and not to write",
        "the C library loads modules of the name service",
    ),
    only("clone", &[bits(0, CLONE_THREAD, CLONE_THREAD)], "threads", "threads"),
    only("socket", &[is(0, AF_UNIX)], "AF_UNIX", "the admin socket, agents, the log, name services, containers"),
    only("socket", &[is(0, AF_INET), bits(1, TYPE, SOCK_STREAM), is(2, 0)], "AF_INET, TCP", "upstreams and clients"),
    only(
        "socket",
        &[is(0, AF_INET), bits(1, TYPE, SOCK_STREAM), is(2, TCP)],
        "AF_INET, TCP by number",
        "upstreams and clients",
    ),
    only("socket", &[is(0, AF_INET), bits(1, TYPE, SOCK_DGRAM)], "AF_INET, UDP", "name servers"),
    only("socket", &[is(0, AF_INET6), bits(1, TYPE, SOCK_STREAM), is(2, 0)], "AF_INET6, TCP", "upstreams and clients"),
    only(
        "socket",
        &[is(0, AF_INET6), bits(1, TYPE, SOCK_STREAM), is(2, TCP)],
        "AF_INET6, TCP by number",
        "upstreams and clients",
    ),
    only("socket", &[is(0, AF_INET6), bits(1, TYPE, SOCK_DGRAM)], "AF_INET6, UDP", "name servers"),
    only("socket", &[is(0, AF_NETLINK)], "AF_NETLINK", "who has a connection, and changes of the network"),
    only("prctl", &[is(0, PR_SET_NAME)], "PR_SET_NAME", "names of threads"),
    only("prctl", &[is(0, PR_GET_NAME)], "PR_GET_NAME", "names of threads"),
    only("prctl", &[is(0, PR_SET_VMA)], "PR_SET_VMA", "the C library names memory"),
    only("prctl", &[is(0, PR_GET_DUMPABLE)], "PR_GET_DUMPABLE", "what is in force is reported"),
    only("prctl", &[is(0, PR_GET_NO_NEW_PRIVS)], "PR_GET_NO_NEW_PRIVS", "what is in force is reported"),
    only("prctl", &[is(0, PR_CAPBSET_READ)], "PR_CAPBSET_READ", "what is in force is reported"),
];

/// What only an attacker would do.
pub const HOSTILE: &[Call] = &[
    call("execve", "another program is executed"),
    call("execveat", "another program is executed"),
    old("fork", "a process is made"),
    old("vfork", "a process is made"),
    call("ptrace", "other processes are traced or read"),
    call("process_vm_readv", "other processes are traced or read"),
    call("process_vm_writev", "other processes are traced or read"),
    call("kcmp", "other processes are traced or read"),
    call("pidfd_getfd", "other processes are traced or read"),
    call("process_madvise", "other processes are traced or read"),
    call("setuid", "privileges are changed"),
    call("setgid", "privileges are changed"),
    call("setreuid", "privileges are changed"),
    call("setregid", "privileges are changed"),
    call("setresuid", "privileges are changed"),
    call("setresgid", "privileges are changed"),
    call("setfsuid", "privileges are changed"),
    call("setfsgid", "privileges are changed"),
    call("setgroups", "privileges are changed"),
    call("capset", "privileges are changed"),
    call("mount", "file systems are changed"),
    call("umount2", "file systems are changed"),
    call("pivot_root", "file systems are changed"),
    call("chroot", "file systems are changed"),
    call("move_mount", "file systems are changed"),
    call("open_tree", "file systems are changed"),
    call("fsopen", "file systems are changed"),
    call("fsmount", "file systems are changed"),
    call("fsconfig", "file systems are changed"),
    call("fspick", "file systems are changed"),
    call("mount_setattr", "file systems are changed"),
    call("swapon", "file systems are changed"),
    call("swapoff", "file systems are changed"),
    call("quotactl", "file systems are changed"),
    call("unshare", "namespaces are made or entered"),
    call("setns", "namespaces are made or entered"),
    call("init_module", "the kernel is changed"),
    call("finit_module", "the kernel is changed"),
    call("delete_module", "the kernel is changed"),
    call("kexec_load", "the kernel is changed"),
    call("kexec_file_load", "the kernel is changed"),
    call("bpf", "the kernel is changed"),
    call("reboot", "the kernel is changed"),
    call("settimeofday", "the clock or the names of the host are set"),
    call("clock_settime", "the clock or the names of the host are set"),
    call("clock_adjtime", "the clock or the names of the host are set"),
    call("adjtimex", "the clock or the names of the host are set"),
    call("sethostname", "the clock or the names of the host are set"),
    call("setdomainname", "the clock or the names of the host are set"),
    call("acct", "the clock or the names of the host are set"),
    call("perf_event_open", "a large attack surface of the kernel that is not used"),
    call("userfaultfd", "a large attack surface of the kernel that is not used"),
    call("io_uring_setup", "a large attack surface of the kernel that is not used"),
    call("io_uring_enter", "a large attack surface of the kernel that is not used"),
    call("io_uring_register", "a large attack surface of the kernel that is not used"),
    call("keyctl", "a large attack surface of the kernel that is not used"),
    call("add_key", "a large attack surface of the kernel that is not used"),
    call("request_key", "a large attack surface of the kernel that is not used"),
    old("uselib", "a large attack surface of the kernel that is not used"),
    old("modify_ldt", "a large attack surface of the kernel that is not used"),
    old("iopl", "a large attack surface of the kernel that is not used"),
    old("ioperm", "a large attack surface of the kernel that is not used"),
    call("lookup_dcookie", "a large attack surface of the kernel that is not used"),
    call("open_by_handle_at", "files are opened past their directories"),
    call("sched_setaffinity", "other processes are signalled or moved"),
    call("sched_setattr", "other processes are signalled or moved"),
    call("sched_setscheduler", "other processes are signalled or moved"),
    call("migrate_pages", "other processes are signalled or moved"),
    call("move_pages", "other processes are signalled or moved"),
    call("personality", "other processes are signalled or moved"),
    only("clone", &[bits(0, CLONE_THREAD, 0)], "no thread", "a process is made"),
    only("mmap", &[bits(2, WRITE_AND_EXEC, WRITE_AND_EXEC)], "to write and execute", "code is made"),
    only("mprotect", &[bits(2, PROT_EXEC, PROT_EXEC)], "to execute", "code is made"),
    only("socket", &[is(0, AF_INET), bits(1, TYPE, SOCK_RAW)], "AF_INET, raw", "the network is read or forged"),
    only("socket", &[is(0, AF_INET6), bits(1, TYPE, SOCK_RAW)], "AF_INET6, raw", "the network is read or forged"),
    only("socket", &[is(0, AF_PACKET)], "AF_PACKET", "the network is read or forged"),
    only("prctl", &[is(0, PR_SET_DUMPABLE), is(1, 1)], "PR_SET_DUMPABLE, 1", "the memory is laid open"),
    only("ioctl", &[is(1, TIOCSTI)], "TIOCSTI", "commands are typed into a terminal"),
    only("ioctl", &[is(1, TIOCLINUX)], "TIOCLINUX", "commands are typed into a terminal"),
];
