//! What will happen by itself, in order: by time, then first come, first served.
//!
//! Most of what is far away never happens: deadlines of requests that are answered in time. So it is not put in order,
//! but laid into slots of 8 ms of one turn of a wheel, or, if it is further away than a turn, on a pile.
//! A slot is put in order when its time has come, without what has become void by then. What has to be in order is so
//! little that it stays in the cache, however many clients there are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::ids::ConnectionId;

/// Something that will happen. Small, because it is moved about in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A program's timer, by slot and generation.
    Timer(u32, u32),
    /// A segment in flight reaches its machine.
    Arrival(u32),
    /// A sender looks whether its lost segments come through now: connection, direction, round.
    Retransmission(ConnectionId, u8, u32),
    /// A server's timer is due: machine, generation.
    Alarm(u32, u32),
    /// A strobing clock moves to its other side: machine, strike.
    Flip(u32, u32),
}

/// A slot's length, as a power of two of nanoseconds.
const SLOT_BITS: u32 = 23;
/// How many slots a turn has.
const TURN: u64 = 128;

/// An event with its place in the order of all.
pub struct Due {
    pub time: u64,
    sequence: u64,
    pub event: Event,
}

impl Due {
    fn key(&self) -> u128 {
        u128::from(self.time) << 64 | u128::from(self.sequence)
    }

    fn slot(&self) -> u64 {
        self.time >> SLOT_BITS
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The earliest is the greatest: that is what a heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// All that will happen by itself.
pub struct Queue {
    sequence: u64,
    /// The slot that has begun: it and all before it are in `near`.
    begun: u64,
    near: BinaryHeap<Due>,
    /// The slots that follow, less than a turn away, each at its number modulo a turn.
    wheel: Vec<Vec<Due>>,
    /// How many events are in the wheel.
    on_wheel: usize,
    /// What is not before the next turn.
    far: Vec<Due>,
}

impl Queue {
    pub fn new() -> Self {
        let wheel = (0..TURN).map(|_| Vec::new()).collect();
        Self { sequence: 0, begun: 0, near: BinaryHeap::new(), wheel, on_wheel: 0, far: Vec::new() }
    }

    /// Has something happen at `time`.
    pub fn push(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.place(Due { time, sequence: self.sequence, event });
    }

    /// What happens next. What is void, as far as is known by now, may be left out.
    pub fn pop(&mut self, is_void: impl Fn(&Event) -> bool) -> Option<Due> {
        loop {
            if let Some(due) = self.near.pop() {
                return Some(due);
            }
            if self.on_wheel > 0 {
                self.begun += 1;
            } else {
                // Nothing before the turn with the first of the far ones.
                self.begun = self.far.iter().map(Due::slot).min()? / TURN * TURN;
            }
            if self.begun.is_multiple_of(TURN) {
                for due in std::mem::take(&mut self.far) {
                    if !is_void(&due.event) {
                        self.place(due);
                    }
                }
            }
            let slot = &mut self.wheel[(self.begun % TURN) as usize];
            self.on_wheel -= slot.len();
            self.near.extend(slot.drain(..).filter(|due| !is_void(&due.event)));
        }
    }

    fn place(&mut self, due: Due) {
        let slot = due.slot();
        if slot <= self.begun {
            self.near.push(due);
        } else if slot - self.begun < TURN {
            self.on_wheel += 1;
            self.wheel[(slot % TURN) as usize].push(due);
        } else {
            self.far.push(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::seed::Seed;

    fn times(queue: &mut Queue, count: usize) -> Vec<(u64, Event)> {
        (0..count).map_while(|_| queue.pop(|_| false)).map(|due| (due.time, due.event)).collect()
    }

    #[test]
    fn the_order_is_that_of_time_then_of_coming() {
        let mut rng = Seed(1).stream("queue");
        let (mut queue, mut expected) = (Queue::new(), Vec::new());
        let mut now = 0;
        for round in 0..2_000 {
            // From the same instant to many turns away.
            let time = now + (rng.random::<u64>() >> rng.random_range(26..=63));
            queue.push(time, Event::Arrival(round));
            expected.push((time, Event::Arrival(round)));
            expected.sort_by_key(|(time, _)| *time);
            if round % 3 == 2 {
                let next = expected.remove(0);
                assert_eq!(times(&mut queue, 1), [next]);
                now = next.0;
            }
        }
        assert_eq!(times(&mut queue, usize::MAX), expected);
        assert!(queue.pop(|_| false).is_none());
        // After its end it goes on.
        queue.push(u64::MAX, Event::Arrival(0));
        assert_eq!(times(&mut queue, 2), [(u64::MAX, Event::Arrival(0))]);
    }

    #[test]
    fn void_events_are_left_out() {
        let mut queue = Queue::new();
        for (number, time) in [1 << 24, 1 << 25, 1 << 40, 1 << 41].into_iter().enumerate() {
            queue.push(time, Event::Arrival(number as u32));
        }
        let odd = |event: &Event| matches!(event, Event::Arrival(number) if number % 2 == 1);
        assert_eq!(queue.pop(odd).map(|due| due.event), Some(Event::Arrival(0)));
        assert_eq!(queue.pop(odd).map(|due| due.event), Some(Event::Arrival(2)));
        assert!(queue.pop(odd).is_none());
    }
}
