//! From rules to a program of the kernel's classic BPF: a binary search over the numbers of system calls, and the
//! comparison of arguments where a rule has any. Of an argument the low half is compared: all that are looked at are
//! 32-bit integers in the kernel, which ignores the rest.

use nix::libc;

use super::Rules;

/// `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It is made.
    Allow,
    /// It fails with this errno(3).
    Fail(i32),
}

/// What becomes of the calls of one number: the first clause that fits decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) clauses: Vec<Clause>,
    pub(super) otherwise: Action,
}

/// All tests must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) tests: Vec<Test>,
    pub(super) action: Action,
}

/// One argument, masked, is one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    /// 0 to 5.
    pub(super) argument: u8,
    pub(super) mask: u32,
    pub(super) values: Vec<u32>,
}

impl From<Action> for Rule {
    fn from(otherwise: Action) -> Self {
        Self {
            clauses: Vec::new(),
            otherwise,
        }
    }
}

/// `AUDIT_ARCH_*` of this machine: `EM_*`, 64 bits, little endian.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_00b7;
/// From here on numbers are x32's (`__X32_SYSCALL_BIT`); no other call has so large a number.
pub(super) const FOREIGN: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`, bytes.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCH: u32 = 4;
pub(super) const ARGUMENTS: u32 = 16;

// linux/bpf_common.h
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// The whole program; `other` is for calls without a rule, and another action for those whose number is `newer.0` or more.
pub(super) fn assemble(rules: &Rules, other: Action, newer: Option<(u32, Action)>) -> Vec<Instruction> {
    let mut program = vec![
        plain(LOAD, ARCH),
        jump(JUMP_EQUAL, ARCHITECTURE, 1, 0),
        // A program of another ABI has other numbers for everything, so it ends at once.
        plain(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        plain(LOAD, NUMBER),
    ];
    // Ranges of numbers with one rule each: where each begins, up to the next.
    let mut ranges: Vec<(u32, Rule)> = vec![(0, Rule::from(other))];
    let mut begin = |from: u32, rule: &Rule| match ranges.last_mut() {
        Some((_, last)) if last == rule => {}
        Some((start, last)) if *start == from => *last = rule.clone(),
        _ => ranges.push((from, rule.clone())),
    };
    let mut next = 0;
    for (number, rule) in rules {
        if *number > next {
            begin(next, &Rule::from(other));
        }
        begin(*number, rule);
        next = number + 1;
    }
    begin(next, &Rule::from(other));
    if let Some((first, action)) = newer {
        begin(first.max(next), &Rule::from(action));
    }
    begin(FOREIGN, &Rule::from(Action::Fail(libc::ENOSYS)));
    program.extend(search(&ranges));
    program
}

/// Binary search: the accumulator holds the number.
fn search(ranges: &[(u32, Rule)]) -> Vec<Instruction> {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((first, _)) = high.first().filter(|_| !low.is_empty()) else {
        return ranges.iter().flat_map(|(_, rule)| decide(rule)).collect();
    };
    let (below, above) = (search(low), search(high));
    let mut code = match u8::try_from(below.len()) {
        Ok(skip) => vec![jump(JUMP_AT_LEAST, *first, skip, 0)],
        // Conditional jumps reach 255 instructions.
        Err(_) => vec![
            jump(JUMP_AT_LEAST, *first, 0, 1),
            plain(JUMP, u32::try_from(below.len()).unwrap_or(u32::MAX)),
        ],
    };
    code.extend(below);
    code.extend(above);
    code
}

fn decide(rule: &Rule) -> Vec<Instruction> {
    let mut code: Vec<Instruction> = rule.clauses.iter().flat_map(clause).collect();
    code.push(end(rule.otherwise));
    code
}

/// Goes on behind itself when a test fails.
fn clause(clause: &Clause) -> Vec<Instruction> {
    let mut code = vec![end(clause.action)];
    for test in clause.tests.iter().rev() {
        let mut tested = vec![plain(LOAD, ARGUMENTS + 8 * u32::from(test.argument))];
        if test.mask != u32::MAX {
            tested.push(plain(AND, test.mask));
        }
        let most = test.values.len();
        for (index, value) in test.values.iter().enumerate() {
            let rest = u8::try_from(most - index).unwrap_or(u8::MAX);
            tested.push(jump(JUMP_EQUAL, *value, rest, 0));
        }
        tested.push(plain(JUMP, u32::try_from(code.len()).unwrap_or(u32::MAX)));
        tested.extend(code);
        code = tested;
    }
    code
}

fn end(action: Action) -> Instruction {
    plain(
        RETURN,
        match action {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Fail(errno) => libc::SECCOMP_RET_ERRNO | errno.unsigned_abs(),
        },
    )
}

fn plain(code: u16, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}
