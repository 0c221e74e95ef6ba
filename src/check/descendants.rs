//! Finding the processes that a command started, however far they went away from it.
//!
//! A process group is left by whoever calls `setsid`, and a parent is lost by whoever outlives it. So every command
//! carries a mark that its descendants inherit: a variable of the environment, and on Linux a resource limit that
//! neither another environment nor another session takes away.

use std::fmt;

use rustix::process::Pid;

use crate::base::digest::Digest;

#[cfg(target_os = "linux")]
pub(super) use self::proc::{Descendants, started_at};

#[cfg(not(target_os = "linux"))]
pub(super) use self::elsewhere::{Descendants, started_at};

/// The variable that carries the mark.
pub(super) const VARIABLE: &str = "CASCADE_RUN";

/// What tells the processes of one command, or of one place where commands run after each other, from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u32);

impl Mark {
    /// Makes a mark that no other command has.
    #[must_use]
    pub fn unique() -> Self {
        let mut bytes = [0; 4];
        // Without randomness the mark is that of all such commands, and the group alone is ended with certainty.
        let _ = getrandom::fill(&mut bytes);
        Self(u32::from_ne_bytes(bytes))
    }

    /// Makes the mark of everything that runs in the place `name`, in this process and in later ones.
    #[must_use]
    pub fn of_place(name: &[u8]) -> Self {
        // Eight hexadecimal digits always are a number of that size.
        Self(u32::from_str_radix(&Digest::of(name).short(8), 16).unwrap_or_default())
    }
}

/// What the processes of a command are found by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub mark: Mark,
    /// Who leads their process group, where it is known.
    pub leader: Option<Pid>,
    /// When the first of them started, where that is known.
    pub since: Option<u64>,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(target_os = "linux")]
mod proc {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, pidfd_send_signal, setrlimit,
    };

    use super::{Mark, Origin, VARIABLE};

    /// Realtime processes may compute this long, in microseconds, without a pause: for ever. The mark is added to it.
    const LIMIT_BASE_US: u64 = 1 << 62;

    /// What the system says of a process.
    struct Stat {
        state: u8,
        parent: i32,
        group: i32,
        started_at: u64,
    }

    /// Living processes of a command.
    pub(in crate::check) struct Descendants(Vec<Found>);

    struct Found {
        pid: Pid,
        group: i32,
        /// Holds the process, so that its number cannot come to mean another one.
        held: Option<OwnedFd>,
    }

    impl Mark {
        /// Lets a command that is about to start carry the mark.
        pub(in crate::check) fn put_on(self, command: &mut Command) {
            command.env(VARIABLE, self.to_string());
            if !can_limit() {
                return;
            }
            let limit = Rlimit { current: Some(self.limit_us()), maximum: None };
            // SAFETY: between fork and exec only async-signal-safe functions may be called; this is one system call.
            #[allow(unsafe_code)]
            unsafe {
                command.pre_exec(move || {
                    // The variable alone marks it then.
                    let _ = setrlimit(Resource::Rttime, limit);
                    Ok(())
                });
            }
        }

        fn limit_us(self) -> u64 {
            LIMIT_BASE_US | u64::from(self.0)
        }

        fn is_on(self, pid: i32) -> bool {
            if can_limit() {
                let limit = self.limit_us().to_string();
                let is_there = |text: &[u8]| text.windows(limit.len()).any(|word| word == limit.as_bytes());
                return read(pid, "limits").is_some_and(|text| is_there(&text));
            }
            let variable = format!("{VARIABLE}={self}");
            let is_there = |text: &[u8]| text.split(|byte| *byte == 0).any(|word| word == variable.as_bytes());
            read(pid, "environ").is_some_and(|text| is_there(&text))
        }
    }

    /// Answers whether the limit is free to carry a mark; a lower one is somebody's wish.
    fn can_limit() -> bool {
        let limit = getrlimit(Resource::Rttime);
        limit.maximum.is_none() && limit.current.is_none_or(|current| current >= LIMIT_BASE_US)
    }

    /// Answers when a process started, in ticks since the machine did.
    pub(in crate::check) fn started_at(pid: Pid) -> Option<u64> {
        Some(Stat::of(pid.as_raw_nonzero().get())?.started_at)
    }

    impl Descendants {
        /// Finds the processes of a command, and whatever descends from one of them.
        pub fn of(origin: Origin) -> Self {
            let mut seen = all();
            seen.retain(|_, stat| stat.started_at >= origin.since.unwrap_or(0));
            let leader = origin.leader.map(|leader| leader.as_raw_nonzero().get());
            let is_of = |(pid, stat): &(&i32, &Stat)| leader == Some(stat.group) || origin.mark.is_on(**pid);
            let mut found: BTreeSet<i32> = seen.iter().filter(is_of).map(|(pid, _)| *pid).collect();
            loop {
                let below = seen.iter().filter(|(pid, stat)| found.contains(&stat.parent) && !found.contains(pid));
                let below: Vec<i32> = below.map(|(pid, _)| *pid).collect();
                if below.is_empty() {
                    break;
                }
                found.extend(below);
            }
            let held = |number: i32| {
                let (pid, group) = (Pid::from_raw(number)?, seen.get(&number)?.group);
                Some(Found { pid, group, held: pidfd_open(pid, PidfdFlags::empty()).ok() })
            };
            Self(found.into_iter().filter_map(held).collect())
        }

        /// Leaves out who is in the process group of `leader`.
        pub fn outside(mut self, leader: Option<Pid>) -> Self {
            let leader = leader.map(|leader| leader.as_raw_nonzero().get());
            self.0.retain(|found| Some(found.group) != leader);
            self
        }

        pub fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        /// A process that is gone already is what was wanted, so that errors say nothing.
        pub fn signal(&self, signal: Signal) {
            for found in &self.0 {
                let _ = match &found.held {
                    Some(held) => pidfd_send_signal(held, signal),
                    None => kill_process(found.pid, signal),
                };
            }
        }

        /// Waits until they are gone, but not for longer than `limit`.
        pub fn await_end(&self, limit: Duration) {
            let ends_at = Instant::now() + limit;
            for held in self.0.iter().filter_map(|found| found.held.as_ref()) {
                let left = Timespec::try_from(ends_at.saturating_duration_since(Instant::now())).ok();
                // A process that ended makes its descriptor readable.
                let _ = poll(&mut [PollFd::new(held, PollFlags::IN)], left.as_ref());
            }
        }
    }

    /// Looks at every living process but this one.
    fn all() -> BTreeMap<i32, Stat> {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let living = |pid: i32| Stat::of(pid).filter(|stat| stat.state != b'Z').map(|stat| (pid, stat));
        numbers.filter(|pid| *pid != own).filter_map(living).collect()
    }

    impl Stat {
        fn of(pid: i32) -> Option<Self> {
            Self::parse(&read(pid, "stat")?)
        }

        /// Reads the words after the second one, which is in parentheses and may contain anything.
        fn parse(stat: &[u8]) -> Option<Self> {
            let after = stat.iter().rposition(|byte| *byte == b')')?;
            let words: Vec<&str> = std::str::from_utf8(stat.get(after + 1..)?).ok()?.split_ascii_whitespace().collect();
            let (state, parent, started_at) = (words.first()?, words.get(1)?, words.get(19)?);
            let group = words.get(2)?;
            Some(Self {
                state: *state.as_bytes().first()?,
                parent: parent.parse().ok()?,
                group: group.parse().ok()?,
                started_at: started_at.parse().ok()?,
            })
        }
    }

    fn read(pid: i32, name: &str) -> Option<Vec<u8>> {
        let text: io::Result<Vec<u8>> = fs::read(format!("/proc/{pid}/{name}"));
        text.ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_of_programs_do_not_disturb() {
            let stat =
                Stat::parse(b"12 (a) S) R 7 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25").unwrap();
            assert_eq!((stat.state, stat.parent, stat.group, stat.started_at), (b'R', 7, 3, 20));
            assert!(Stat::parse(b"12 (a S 1").is_none());
            assert!(started_at(rustix::process::getpid()).is_some_and(|ticks| ticks > 0));
        }

        #[test]
        fn places_have_one_mark_and_commands_each_their_own() {
            assert_eq!(Mark::of_place(b"/a"), Mark::of_place(b"/a"));
            assert_ne!(Mark::of_place(b"/a"), Mark::of_place(b"/b"));
            assert_ne!(Mark::unique(), Mark::unique());
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::{Pid, Signal, test_kill_process_group};

    use super::{Mark, Origin, VARIABLE};

    pub(in crate::check) fn started_at(_: Pid) -> Option<u64> {
        None
    }

    /// Other systems do not tell what a process has inherited: the group alone is known there.
    pub(in crate::check) struct Descendants {
        is_empty: bool,
    }

    impl Mark {
        pub(in crate::check) fn put_on(self, command: &mut Command) {
            command.env(VARIABLE, self.to_string());
        }
    }

    impl Descendants {
        pub fn of(origin: Origin) -> Self {
            Self { is_empty: origin.leader.is_none_or(|leader| test_kill_process_group(leader).is_err()) }
        }

        pub fn outside(self, _: Option<Pid>) -> Self {
            self
        }

        pub fn is_empty(&self) -> bool {
            self.is_empty
        }

        pub fn signal(&self, _: Signal) {}

        pub fn await_end(&self, _: Duration) {}
    }
}
