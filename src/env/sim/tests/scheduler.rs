//! Processes: exact freezes, children, deaths, clocks of their own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::FutureExt;
use tokio::sync::watch;

use super::super::engine::ids::ProcessId;
use super::super::engine::scheduler::Stuck;
use super::super::engine::sync::lock;
use super::*;
use crate::fault::ClockChange;

/// A task that counts as often as its timer, of every 10 ms, lets it.
fn counting(runtime: SharedRuntime, count: Arc<AtomicU64>) -> futures_util::future::BoxFuture<'static, ()> {
    async move {
        loop {
            let next = Nanos(runtime.now().0 + 10 * MILLISECOND);
            runtime.sleep_until(next).await;
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    .boxed()
}

#[test]
fn a_frozen_process_stops_at_once_and_goes_on_where_it_was() {
    let (world, mut scheduler) = world();
    let runtime = runtime(&world, CLIENT);
    let count = Arc::new(AtomicU64::new(0));
    // A child of a child: part of the process all the same.
    let (spawner, counter) = (Arc::clone(&runtime), counting(Arc::clone(&runtime), Arc::clone(&count)));
    runtime.spawn(async move { spawner.spawn(counter) }.boxed());
    scheduler
        .block_on(async {
            until(&world, 105 * MILLISECOND).await;
            assert_eq!(count.load(Ordering::Relaxed), 10);
            world.lock().freeze(CLIENT);
            until(&world, 10 * SECOND).await;
            assert_eq!(count.load(Ordering::Relaxed), 10, "its timer ran out, but it was not let run");
            world.lock().thaw(CLIENT);
            until(&world, 10 * SECOND + 5 * MILLISECOND).await;
            assert_eq!(count.load(Ordering::Relaxed), 11, "the timer that ran out meanwhile, at once");
            until(&world, 10 * SECOND + 15 * MILLISECOND).await;
            assert_eq!(count.load(Ordering::Relaxed), 12);
        })
        .unwrap();
}

#[test]
fn a_freeze_at_a_pause_point_comes_before_the_next_step() {
    let (world, mut scheduler) = world();
    let runtime = runtime(&world, CLIENT);
    let (reached, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (go, mut gone) = tokio::sync::mpsc::unbounded_channel::<()>();
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    runtime.spawn(
        async move {
            reached.send(()).unwrap();
            gone.recv().await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
        .boxed(),
    );
    scheduler
        .block_on(async {
            heard.recv().await;
            world.lock().freeze(CLIENT);
            go.send(()).unwrap();
            until(&world, SECOND).await;
            assert_eq!(steps.load(Ordering::Relaxed), 0);
            world.lock().thaw(CLIENT);
            until(&world, SECOND + 1).await;
            assert_eq!(steps.load(Ordering::Relaxed), 1);
        })
        .unwrap();
}

#[test]
fn deliveries_to_a_frozen_process_go_on() {
    let (world, mut scheduler) = world();
    let (runtime, caller) = (runtime(&world, CLIENT), caller(&world));
    let answer = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&answer);
    let inner = Arc::clone(&runtime);
    runtime.spawn(
        async move {
            let connection = caller.connect().await.unwrap().keep();
            let reply = caller.call(connection, incr()).await;
            *lock(&kept) = Some((number(reply), inner.now()));
        }
        .boxed(),
    );
    scheduler
        .block_on(async {
            // The request is on its way: frozen before the answer can be there.
            while count(&world) == 0 {
                pass(&world, MILLISECOND / 20).await;
            }
            world.lock().freeze(CLIENT);
            until(&world, 5 * SECOND).await;
            assert_eq!(*lock(&answer), None);
            world.lock().thaw(CLIENT);
            until(&world, 5 * SECOND + 1).await;
            assert_eq!(*lock(&answer), Some((1, Nanos(5 * SECOND))), "it was waiting in the kernel");
        })
        .unwrap();
}

/// Does what a lock's guard does when it is dropped: sends and spawns.
struct Parting {
    world: Arc<World>,
    runtime: SharedRuntime,
    connection: u32,
    dropped: Arc<AtomicU64>,
}

impl Drop for Parting {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        let process = ProcessId { host: CLIENT, incarnation: 0 };
        let caller = Caller::new(Arc::clone(&self.world), process, NODE);
        assert!(caller.call(self.connection, incr()).now_or_never().is_some_and(|answer| answer.is_none()));
        let connection = self.connection;
        self.runtime.spawn(async move { drop(caller.call(connection, incr()).await) }.boxed());
    }
}

#[test]
fn a_crash_drops_everything_and_nothing_dropped_is_heard() {
    let (world, mut scheduler) = world();
    let (runtime, caller) = (runtime(&world, CLIENT), caller(&world));
    let dropped = Arc::new(AtomicU64::new(0));
    let parting = (Arc::clone(&world), Arc::clone(&runtime), Arc::clone(&dropped));
    runtime.spawn(
        async move {
            let connection = caller.connect().await.unwrap().keep();
            let (world, runtime, dropped) = parting;
            let _parting = Parting { world, runtime, connection, dropped };
            std::future::pending::<()>().await;
        }
        .boxed(),
    );
    scheduler
        .block_on(async {
            until(&world, SECOND).await;
            world.lock().crash(CLIENT, Power::Killed);
            until(&world, 2 * SECOND).await;
            assert_eq!((dropped.load(Ordering::Relaxed), count(&world)), (1, 0));
        })
        .unwrap();
}

#[test]
fn tasks_run_in_the_order_of_their_creation_however_they_are_woken() {
    for _ in 0..50 {
        let (world, mut scheduler) = world();
        let runtime = runtime(&world, CLIENT);
        let (sender, receiver) = watch::channel(false);
        let order = Arc::new(Mutex::new(Vec::new()));
        for number in 0..20 {
            let (mut receiver, order) = (receiver.clone(), Arc::clone(&order));
            runtime.spawn(
                async move {
                    receiver.changed().await.unwrap();
                    lock(&order).push(number);
                }
                .boxed(),
            );
        }
        scheduler
            .block_on(async {
                until(&world, SECOND).await;
                sender.send(true).unwrap();
                until(&world, 2 * SECOND).await;
            })
            .unwrap();
        assert_eq!(*lock(&order), (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn timers_follow_their_own_machines_clock() {
    let (world, mut scheduler) = world();
    let woken = Arc::new(AtomicU64::new(0));
    let (runtime, inner) = (runtime(&world, CLIENT), Arc::clone(&world));
    let (sleeper, seen) = (Arc::clone(&runtime), Arc::clone(&woken));
    runtime.spawn(
        async move {
            sleeper.sleep_until(Nanos(4 * SECOND)).await;
            seen.store(inner.lock().now, Ordering::Relaxed);
        }
        .boxed(),
    );
    scheduler
        .block_on(async {
            until(&world, SECOND).await;
            world.lock().change_clock(CLIENT, 1, &ClockChange::Drift { ppm: 1_000_000 });
            until(&world, 2 * SECOND).await;
            // Three seconds have passed there. Slower than real from here on: the timer comes later than was thought.
            world.lock().undo_clock(CLIENT, 1);
            world.lock().change_clock(CLIENT, 2, &ClockChange::Drift { ppm: -500_000 });
            until(&world, 10 * SECOND).await;
        })
        .unwrap();
    let woken = woken.load(Ordering::Relaxed);
    assert!(woken.abs_diff(4 * SECOND) < 1_000, "{woken}");
}

#[test]
fn a_world_in_which_nothing_will_happen_says_so() {
    let (_, mut scheduler) = world();
    assert!(scheduler.block_on(std::future::pending::<()>()).is_err());
}

#[test]
fn a_program_that_goes_round_without_time_passing_is_stopped() {
    for sleeps in [false, true] {
        let (world, mut scheduler) = world();
        let runtime = runtime(&world, CLIENT);
        let sleeper = Arc::clone(&runtime);
        runtime.spawn(
            async move {
                sleeper.sleep_until(Nanos(SECOND)).await;
                loop {
                    match sleeps {
                        true => sleeper.sleep_until(Nanos(SECOND)).await,
                        false => {
                            std::future::poll_fn(|context| {
                                context.waker().wake_by_ref();
                                std::task::Poll::Pending
                            })
                            .await
                        }
                    }
                }
            }
            .boxed(),
        );
        let stuck = scheduler.block_on(until(&world, 2 * SECOND)).unwrap_err();
        assert!(matches!(stuck, Stuck::Spinning { at } if at.0.abs_diff(SECOND) < 1_000), "{stuck}");
        scheduler.shut_down();
    }
}

#[test]
fn a_program_that_begins_more_than_it_ends_is_stopped() {
    let (world, mut scheduler) = world();
    let runtime = runtime(&world, CLIENT);
    let spawner = Arc::clone(&runtime);
    runtime.spawn(
        async move {
            for instant in 1.. {
                spawner.sleep_until(Nanos(instant)).await;
                (0..10).for_each(|_| spawner.spawn(std::future::pending().boxed()));
            }
        }
        .boxed(),
    );
    let stuck = scheduler.block_on(until(&world, SECOND)).unwrap_err();
    assert!(matches!(stuck, Stuck::Flooded { tasks, .. } if tasks > 1_000_000), "{stuck}");
    scheduler.shut_down();
}
