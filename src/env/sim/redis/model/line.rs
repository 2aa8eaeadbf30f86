//! Lines of who waits for a key, and the channels on which they are called.
//!
//! A line is a list in the server, and here a text of one place a line in a key like others, so that it lives, dies and
//! is lost as they are. Whoever subscribes is known by the number of its connection; what is to be said there is kept
//! until the caller takes it.

use smol_str::SmolStr;

use super::channels::Channels;
use super::{Entry, Now, RedisModel, Reply};

impl RedisModel {
    /// From now on what is published on `channel` is said on this connection.
    pub fn subscribe(&mut self, connection: u32, channel: SmolStr) {
        self.channels.listeners.entry(channel).or_default().insert(connection);
    }

    /// The connection is closed.
    pub fn closed(&mut self, connection: u32) {
        self.channels.listeners.retain(|_, listeners| {
            listeners.remove(&connection);
            !listeners.is_empty()
        });
    }

    /// What was published since this was asked last, and on which connection it is to be said.
    pub fn take_said(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.channels.said)
    }

    /// `PUBLISH`: whether anybody hears it.
    fn publish(&mut self, channel: &str, name: &str) -> bool {
        let Channels { listeners, said } = &mut self.channels;
        let heard = listeners.get(channel);
        said.extend(heard.into_iter().flatten().map(|connection| (*connection, name.to_owned())));
        heard.is_some()
    }

    fn line(&mut self, now: Now, line: &SmolStr) -> Vec<SmolStr> {
        self.look(now, line).map_or_else(Vec::new, |entry| entry.value.split('\n').map(SmolStr::from).collect())
    }

    /// Keeps the line's deadline. A line without anybody in it is no key.
    fn put_line(&mut self, now: Now, line: &SmolStr, places: &[SmolStr]) {
        let deadline = self.look(now, line).and_then(|entry| entry.deadline);
        if places.is_empty() {
            self.delete(now, line);
        } else {
            self.put(now, line, Entry { value: places.join("\n").into(), deadline });
        }
    }

    pub(super) fn call_next(&mut self, now: Now, line: &SmolStr) {
        let mut places = self.line(now, line);
        while !places.is_empty() {
            let place = places.remove(0);
            self.put_line(now, line, &places);
            let heard = place.split_once(' ').is_some_and(|(channel, name)| self.publish(channel, name));
            if heard {
                break;
            }
        }
    }

    pub(super) fn stand_in_line(
        &mut self,
        now: Now,
        key: &SmolStr,
        line: &SmolStr,
        place: &SmolStr,
        front: bool,
        patience_ms: i64,
    ) -> Reply {
        let left = self.pttl(now, key);
        if left == -2 {
            return Reply::Integer(left);
        }
        let mut places = self.line(now, line);
        if !places.contains(place) {
            places.insert(if front { 0 } else { places.len() }, place.clone());
            self.put_line(now, line, &places);
        }
        match self.pexpire(now, line, patience_ms) {
            // A number of Lua's on its way: exact to 53 bits.
            Reply::Integer(_) => Reply::Integer(left as f64 as i64),
            refused => refused,
        }
    }

    /// Whether the place was in the line.
    pub(super) fn leave_line(&mut self, now: Now, key: &SmolStr, line: &SmolStr, place: &SmolStr) -> bool {
        let mut places = self.line(now, line);
        let before = places.len();
        places.retain(|other| other != place);
        if places.len() < before {
            self.put_line(now, line, &places);
            return true;
        }
        if self.look(now, key).is_none() {
            self.call_next(now, line);
        }
        false
    }
}
