//! What the world and the scheduler tell each other about processes: who lives, who is frozen, who can go on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::BoxFuture;

use super::ids::{HostId, ProcessId};
use super::sync::lock;

/// What the world and the scheduler tell each other.
pub struct Processes {
    flags: Vec<Flags>,
    /// Tasks to poll, by number and slot.
    pub ready: Mutex<Vec<(u64, u32)>>,
    news: Mutex<News>,
    /// Whether there are any.
    has_news: AtomicBool,
    /// Whether anybody was woken, spawned, thawed or killed since the scheduler last looked.
    stirred: AtomicBool,
}

/// What the scheduler has to do besides polling.
#[derive(Default)]
pub struct News {
    /// Machines whose tasks may be polled again.
    pub thawed: Vec<HostId>,
    /// Machines whose tasks are to be dropped.
    pub crashed: Vec<HostId>,
    /// Tasks to begin.
    pub spawned: Vec<(ProcessId, BoxFuture<'static, ()>)>,
}

#[derive(Default)]
struct Flags {
    frozen: AtomicBool,
    incarnation: AtomicU32,
}

impl Processes {
    /// Processes on this many machines.
    pub fn new(hosts: usize) -> Self {
        Self {
            flags: (0..hosts).map(|_| Flags::default()).collect(),
            ready: Mutex::default(),
            news: Mutex::default(),
            has_news: AtomicBool::new(false),
            stirred: AtomicBool::new(false),
        }
    }

    /// The process that lives on a machine now.
    pub fn current(&self, host: HostId) -> ProcessId {
        ProcessId { host, incarnation: self.flags[host].incarnation.load(Ordering::Relaxed) }
    }

    /// Whether the process has not crashed.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.current(process.host) == process
    }

    /// Runs `task` as part of a process. What a dead process wants to run is dropped.
    pub fn spawn(&self, process: ProcessId, task: BoxFuture<'static, ()>) {
        if self.is_alive(process) {
            lock(&self.news).spawned.push((process, task));
            self.tell();
        }
    }

    /// The machine's tasks are not polled any more.
    pub fn freeze(&self, host: HostId) {
        self.flags[host].frozen.store(true, Ordering::Relaxed);
    }

    /// The machine's tasks are polled again.
    pub fn thaw(&self, host: HostId) {
        self.flags[host].frozen.store(false, Ordering::Relaxed);
        lock(&self.news).thawed.push(host);
        self.tell();
    }

    /// The machine's process is dead.
    pub fn crash(&self, host: HostId) {
        self.flags[host].incarnation.fetch_add(1, Ordering::Relaxed);
        lock(&self.news).crashed.push(host);
        self.thaw(host);
    }

    /// Whether the scheduler has something to do before more may happen.
    pub fn stirred(&self) -> bool {
        self.stirred.load(Ordering::Relaxed)
    }

    /// The scheduler has something to do before more may happen.
    pub fn stir(&self) {
        self.stirred.store(true, Ordering::Relaxed);
    }

    /// The scheduler begins to do what there is to do.
    pub fn calm(&self) {
        self.stirred.store(false, Ordering::Relaxed);
    }

    /// Whether the scheduler has something to do besides polling.
    pub fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Relaxed)
    }

    /// Exchanges the news for an empty list of them.
    pub fn hear(&self, empty: &mut News) {
        self.has_news.store(false, Ordering::Relaxed);
        std::mem::swap(empty, &mut lock(&self.news));
    }

    /// On how many machines.
    pub fn hosts(&self) -> usize {
        self.flags.len()
    }

    fn tell(&self) {
        self.has_news.store(true, Ordering::Relaxed);
        self.stir();
    }

    /// Whether the machine's tasks are not to be polled.
    pub fn is_frozen(&self, host: HostId) -> bool {
        self.flags[host].frozen.load(Ordering::Relaxed)
    }
}
