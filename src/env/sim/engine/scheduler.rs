//! Polls the futures of simulated processes, each only while its machine's program runs.
//!
//! One thread, no runtime of anybody's. A process is a set of tasks on one machine in one incarnation. Freezing it
//! means that its tasks are not polled: wakers keep their turn for them, while timers run out and deliveries go on, as
//! for a stopped process with a live kernel. A crash drops its tasks, spawned ones too; the process is dead before
//! that, so that nothing that a destructor tries to send or spawn goes anywhere.
//!
//! Tasks are polled in rounds: all that were woken, in the order of their creation. The order in which they were woken
//! does not count, because it is not the simulation's to decide: `tokio::sync::watch` wakes its receivers in an order
//! drawn from a generator of its own, which cannot be seeded.
//!
//! There is no tokio runtime behind this on purpose. Its timers know whole milliseconds only, ten times the latency of
//! a link, and its ambient clock, timers and spawner would be there for locks under trial to use by mistake; here they
//! panic.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;

use super::ids::{HostId, ProcessId};
use super::processes::{News, Processes};
use super::sync::lock;
use super::world::World;
use crate::time::Nanos;

struct TaskWaker {
    processes: Arc<Processes>,
    number: u64,
    slot: u32,
    queued: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // All of this happens on one thread: no need for a swap, which costs ten times as much.
        if !self.queued.load(Ordering::Relaxed) {
            self.queued.store(true, Ordering::Relaxed);
            lock(&self.processes.ready).push((self.number, self.slot));
            self.processes.stir();
        }
    }
}

struct Task {
    number: u64,
    process: ProcessId,
    handle: Arc<TaskWaker>,
    waker: Waker,
    future: BoxFuture<'static, ()>,
}

/// Why the world does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// Everything is waiting for something, and nothing will ever happen.
    #[error("nothing more can happen")]
    Deadlock,
    /// Somebody goes on and on without waiting for anything that takes time: a real program would keep a core busy.
    #[error("a program goes round and round at {at} without time passing, as if it polled in a loop")]
    Spinning {
        /// The true time at which it does.
        at: Nanos,
    },
    /// Somebody begins more and more that does not end: a real program would run out of memory.
    #[error("{tasks} tasks are under way at {at}: a program begins more than it ends")]
    Flooded {
        /// The true time at which there were so many.
        at: Nanos,
        /// How many.
        tasks: usize,
    },
}

/// Rounds of tasks, and events, without time passing, after which a program is said to spin. Hundreds are usual.
const TURNS: u32 = 100_000;

/// How many tasks may be under way at once. A client has a handful, and one for each request that nobody answers.
const TASKS: usize = 1_000_000;

/// Looks for turns without end in one instant.
#[derive(Default)]
struct Turns {
    count: u32,
    /// When they were last looked at.
    at: Nanos,
}

/// The tasks of all processes.
pub struct Scheduler {
    world: Arc<World>,
    processes: Arc<Processes>,
    tasks: Vec<Option<Task>>,
    free: Vec<u32>,
    created: u64,
    /// Tasks that were woken while frozen, by machine.
    parked: Vec<Vec<(u64, u32)>>,
    round: Vec<(u64, u32)>,
    /// Room for what is heard, kept from one time to the next.
    news: News,
    turns: Turns,
}

impl Scheduler {
    /// A scheduler of `world`'s processes.
    pub fn new(world: Arc<World>) -> Self {
        let processes = Arc::clone(&world.processes);
        let parked = (0..processes.hosts()).map(|_| Vec::new()).collect();
        Self {
            world,
            processes,
            tasks: Vec::new(),
            free: Vec::new(),
            created: 0,
            parked,
            round: Vec::new(),
            news: News::default(),
            turns: Turns::default(),
        }
    }

    /// Lets the world go on until `future`, which is part of no process, is done.
    ///
    /// # Errors
    /// Nothing more will happen, or time does not go on, and the future is not done.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Stuck> {
        let woken = Arc::new(Flag { processes: Arc::clone(&self.processes), woken: AtomicBool::new(true) });
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            self.settle()?;
            if woken.woken.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
                    return Ok(result);
                }
            } else if !self.world.step() {
                return Err(Stuck::Deadlock);
            }
        }
    }

    /// Ends all processes, and drops what is left of them.
    pub fn shut_down(&mut self) {
        for host in 0..self.parked.len() {
            self.processes.crash(host);
        }
        // Whoever spins is dead.
        let _ = self.settle();
    }

    /// Polls whoever can go on, until nobody can.
    fn settle(&mut self) -> Result<(), Stuck> {
        self.processes.calm();
        loop {
            self.turn()?;
            self.hear_news();
            std::mem::swap(&mut self.round, &mut lock(&self.processes.ready));
            if self.round.is_empty() {
                return Ok(());
            }
            let mut round = std::mem::take(&mut self.round);
            round.sort_unstable();
            for (number, slot) in round.drain(..) {
                self.poll(number, slot);
                self.hear_news();
            }
            self.round = round;
        }
    }

    /// One more turn. Time is looked at once in many.
    fn turn(&mut self) -> Result<(), Stuck> {
        self.turns.count += 1;
        if self.turns.count < TURNS {
            return Ok(());
        }
        let at = Nanos(self.world.lock().now);
        if at == self.turns.at {
            return Err(Stuck::Spinning { at });
        }
        let tasks = self.tasks.len() - self.free.len();
        if tasks > TASKS {
            return Err(Stuck::Flooded { at, tasks });
        }
        self.turns = Turns { count: 0, at };
        Ok(())
    }

    fn poll(&mut self, number: u64, slot: u32) {
        let Some(task) = self.tasks[slot as usize].as_mut().filter(|task| task.number == number) else { return };
        if self.processes.is_frozen(task.process.host) {
            self.parked[task.process.host].push((number, slot));
            return;
        }
        task.handle.queued.store(false, Ordering::Relaxed);
        let done = task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready();
        if done {
            self.free.push(slot);
            self.tasks[slot as usize] = None;
        }
    }

    /// Begins spawned tasks, lets thawed ones go on, drops those of dead processes.
    fn hear_news(&mut self) {
        while self.processes.has_news() {
            let mut news = std::mem::take(&mut self.news);
            self.processes.hear(&mut news);
            for host in news.thawed.drain(..) {
                lock(&self.processes.ready).append(&mut self.parked[host]);
            }
            for host in news.crashed.drain(..) {
                self.drop_dead(host);
            }
            for (process, future) in news.spawned.drain(..) {
                self.begin(process, future);
            }
            self.news = news;
        }
    }

    fn begin(&mut self, process: ProcessId, future: BoxFuture<'static, ()>) {
        if !self.processes.is_alive(process) {
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() as u32 - 1
        });
        self.created += 1;
        let (number, processes) = (self.created, Arc::clone(&self.processes));
        let handle = Arc::new(TaskWaker { processes, number, slot, queued: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&handle));
        waker.wake_by_ref();
        self.tasks[slot as usize] = Some(Task { number, process, handle, waker, future });
    }

    fn drop_dead(&mut self, host: HostId) {
        for slot in 0..self.tasks.len() {
            let dead = |task: &Task| task.process.host == host && !self.processes.is_alive(task.process);
            if self.tasks[slot].as_ref().is_some_and(dead) {
                self.free.push(slot as u32);
                // Its destructors may call into the world, which refuses them everything.
                self.tasks[slot] = None;
            }
        }
    }
}

/// Wakes the future that the scheduler blocks on.
struct Flag {
    processes: Arc<Processes>,
    woken: AtomicBool,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.processes.stir();
    }
}
