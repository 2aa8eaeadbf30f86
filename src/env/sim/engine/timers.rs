//! Who is to be woken when: the timers of programs, and the one that each server has.
//!
//! Deadlines are instants of the machine's own monotonic clock. Deliberately absent: the queue, in which a timer stands
//! at the true time that its clock shows that instant.

use std::task::Waker;

use super::ids::HostId;
use crate::time::Nanos;

/// A server's timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alarm {
    /// What it is armed for, on the server's own clock.
    pub armed: Option<Nanos>,
    /// Numbers the timers: an older one is void.
    pub generation: u32,
}

/// A registered timer of a program.
#[derive(Clone, Copy, Debug)]
pub struct TimerKey {
    /// Its place.
    pub slot: u32,
    /// Which of those that had this place.
    pub generation: u32,
}

struct Slot {
    generation: u32,
    host: HostId,
    deadline: Nanos,
    waker: Option<Waker>,
}

/// The timers of all programs.
#[derive(Default)]
pub struct Timers {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Timers {
    /// A new timer.
    pub fn add(&mut self, host: HostId, deadline: Nanos, waker: Waker) -> TimerKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, host, deadline, waker: None });
            self.slots.len() as u32 - 1
        });
        let timer = &mut self.slots[slot as usize];
        *timer = Slot { generation: timer.generation, host, deadline, waker: Some(waker) };
        TimerKey { slot, generation: timer.generation }
    }

    /// Whether the timer was not taken back and has not gone off.
    pub fn is_armed(&self, key: TimerKey) -> bool {
        self.slots[key.slot as usize].generation == key.generation
    }

    /// Whose timer it is, and its deadline, if it is armed.
    pub fn get(&self, key: TimerKey) -> Option<(HostId, Nanos)> {
        let timer = &self.slots[key.slot as usize];
        (timer.generation == key.generation).then_some((timer.host, timer.deadline))
    }

    /// Has an armed timer wake somebody else; `false` if it is not armed.
    pub fn rearm(&mut self, key: TimerKey, waker: &Waker) -> bool {
        let timer = &mut self.slots[key.slot as usize];
        let armed = timer.generation == key.generation;
        if armed && !timer.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            timer.waker = Some(waker.clone());
        }
        armed
    }

    /// Takes a timer back, if it is armed: whom it would have woken.
    pub fn take(&mut self, key: TimerKey) -> Option<Waker> {
        let timer = &mut self.slots[key.slot as usize];
        if timer.generation != key.generation {
            return None;
        }
        timer.generation = timer.generation.wrapping_add(1);
        self.free.push(key.slot);
        timer.waker.take()
    }

    /// A machine's armed timers, with their deadlines.
    pub fn of(&self, host: HostId) -> impl Iterator<Item = (TimerKey, Nanos)> {
        let armed = self.slots.iter().enumerate().filter(move |(_, timer)| timer.host == host && timer.waker.is_some());
        armed.map(|(slot, timer)| (TimerKey { slot: slot as u32, generation: timer.generation }, timer.deadline))
    }
}
