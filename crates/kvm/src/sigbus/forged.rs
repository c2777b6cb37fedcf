//! Signals as the kernel sends them, for tests.

/// `siginfo_t` as the kernel fills it for a memory error.
#[repr(C)]
struct Forged {
    signo: i32,
    errno: i32,
    code: i32,
    padding: i32,
    address: u64,
    lsb: i16,
    rest: [u8; 102],
}

const _: () = assert!(size_of::<Forged>() == size_of::<libc::siginfo_t>());

/// Raises a forged memory error on this thread, which the kernel lets a thread do to itself alone.
pub(crate) fn raise(code: i32, address: u64, lsb: i16) {
    let mut info = Forged {
        signo: libc::SIGBUS,
        errno: 0,
        code,
        padding: 0,
        address,
        lsb,
        rest: [0; 102],
    };
    // SAFETY: getpid always succeeds.
    let process = unsafe { libc::getpid() };
    // SAFETY: gettid always succeeds.
    let thread = unsafe { libc::gettid() };
    let (number, signal) = (libc::SYS_rt_tgsigqueueinfo, libc::SIGBUS);
    // SAFETY: the call reads the structure, and the signal goes to this thread.
    let status = unsafe { libc::syscall(number, process, thread, signal, &raw mut info) };
    assert_eq!(status, 0);
}

/// Runs a part of a test in a process of its own, whose `SIGBUS` handler before ours is the default one, and says how that
/// process ended: with exit code 0 where `body` came to its end. `test` is the calling test's whole name.
pub(crate) fn in_child(test: &str, case: &str, body: impl Fn(&str)) -> std::process::ExitStatus {
    const CHILD: &str = "SEAWALL_SIGBUS_CHILD";
    if let Ok(case) = std::env::var(CHILD) {
        // The runtime of a Rust program handles the signal too, and forgives one that does not come again.
        // SAFETY: the default action replaces a handler that this process does not need.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        body(&case);
        std::process::exit(0);
    }
    std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, case)
        .output()
        .expect("a child")
        .status
}
