//! Whether all acquires that went well say so in one way.
//!
//! A harness answers `true`, or a token, or a key, or nothing: one of these throughout. Where it answers sometimes this
//! and sometimes that, and what that means is not known, one of them may say that nothing was granted. Deliberately
//! absent: what is known to say so, which [`super::answers`] reads.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use super::super::notation::Value;
use crate::ids::LockName;

/// So many answers are kept apart. A word for every few grants is an id.
const MANY: usize = 1024;
const IDS: usize = 8;

/// What grants were answered with.
#[derive(Default)]
pub(in super::super) struct Shapes {
    yes: bool,
    number: bool,
    /// By the lock: answers whose meaning is not known, each with how often it was given and how it is written.
    odd: BTreeMap<(LockName, bool, u64), (u64, String)>,
}

impl Shapes {
    /// Takes the value of a grant that does not repeat the lock's name.
    pub(super) fn take(&mut self, lock: &LockName, value: Option<&Value<'_>>) {
        let mut hasher = FxHasher::default();
        let is_word = match value {
            None | Some(Value::Nil) => return,
            Some(Value::Bool(_)) => return self.yes = true,
            Some(Value::Number(_)) => return self.number = true,
            Some(word @ (Value::Word(_) | Value::Text(_))) => {
                let word = word.name();
                if says_yes(&word) {
                    return self.yes = true;
                }
                word.hash(&mut hasher);
                true
            }
            Some(map @ Value::Map(_)) => {
                let mut form: Vec<String> = map.entries().map(|(key, value)| part(&key, &value)).collect();
                form.sort_unstable();
                form.hash(&mut hasher);
                false
            }
            Some(list @ Value::Seq(_)) => {
                list.items().map(|item| kind(&item)).collect::<Vec<_>>().hash(&mut hasher);
                false
            }
            Some(Value::Other(_)) => false,
        };
        let key = (lock.clone(), is_word, hasher.finish());
        if let Some((count, _)) = self.odd.get_mut(&key) {
            *count += 1;
        } else if self.odd.len() < MANY {
            let written: String = value.map(Value::written).unwrap_or_default().chars().take(60).collect();
            self.odd.insert(key, (1, written));
        }
    }

    /// Some of the answers, if they are of more than one kind.
    pub(in super::super) fn several(&self) -> Option<Vec<String>> {
        let mut told: Vec<String> = Vec::new();
        told.extend(self.yes.then(|| "true".to_owned()));
        told.extend(self.number.then(|| "a number".to_owned()));
        let mut locks: BTreeMap<&LockName, Vec<&(u64, String)>> = BTreeMap::new();
        let mut words: BTreeMap<&LockName, Vec<&(u64, String)>> = BTreeMap::new();
        for ((lock, is_word, _), seen) in &self.odd {
            (if *is_word { &mut words } else { &mut locks }).entry(lock).or_default().push(seen);
        }
        for (lock, words) in words {
            // Words of which each is another's are ids.
            let are_ids = words.len() > IDS || words.iter().all(|(count, _)| *count == 1);
            let take = if are_ids { 1 } else { words.len() };
            locks.entry(lock).or_default().extend(words.into_iter().take(take));
        }
        let most = locks.into_values().max_by_key(Vec::len).unwrap_or_default();
        told.extend(most.into_iter().take(4).map(|(_, written)| written.clone()));
        (told.len() > 1).then_some(told)
    }
}

/// Whether a word says that the lock was granted, and nothing else. `locked` and `held` may say by whom.
fn says_yes(word: &str) -> bool {
    ["true", "yes", "ok", "granted", "acquired", "success", "lock-acquired"]
        .contains(&word.to_ascii_lowercase().as_str())
}

fn kind(value: &Value<'_>) -> u8 {
    match value {
        Value::Nil => 0,
        Value::Bool(is) => 1 + u8::from(*is),
        Value::Number(_) => 3,
        Value::Word(_) | Value::Text(_) => 4,
        Value::Seq(_) => 5,
        Value::Map(_) => 6,
        Value::Other(_) => 7,
    }
}

/// What counts of an entry of a map: its key, what its value is, and of what says how it went the value itself.
fn part(key: &str, value: &Value<'_>) -> String {
    let is_outcome = super::answers::OUTCOMES.contains(&key.to_ascii_lowercase().as_str());
    if is_outcome { format!("{key} {}", value.name()) } else { format!("{key} {}", kind(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_one_kind_are_no_riddle_and_those_of_two_are() {
        let several = |answers: &[(&str, Value<'_>)]| {
            let mut shapes = Shapes::default();
            answers.iter().for_each(|(lock, value)| shapes.take(&LockName::new(lock), Some(value)));
            shapes.several().is_some()
        };
        let word = |word: &'static str| ("a", Value::Word(word));
        for (answers, expected) in [
            (vec![("a", Value::Bool(true)), ("a", Value::Nil), word("OK")], false),
            (vec![word("k1"), word("k2"), word("k3")], false),
            (vec![word("gotcha"), word("gotcha")], false),
            // Each lock has its own key.
            (vec![word("ka"), word("ka"), ("b", Value::Word("kb")), ("b", Value::Word("kb"))], false),
            (vec![("a", Value::Map("{:uid 5, :fence 1}")), ("a", Value::Map("{:fence 2 :uid 7}"))], false),
            (vec![("a", Value::Seq("[\"l\" 5]")), ("a", Value::Seq("[\"l\" 6]"))], false),
            (vec![("a", Value::Number("5")), ("a", Value::Number("6"))], false),
            (vec![word("gotcha"), word("nope"), word("nope")], true),
            (vec![("a", Value::Bool(true)), word("held")], true),
            (vec![("a", Value::Bool(true)), ("a", Value::Number("409"))], true),
            (vec![("a", Value::Bool(true)), ("a", Value::Map("{:by 3}"))], true),
            (vec![("a", Value::Map("{:token 3}")), ("a", Value::Map("{:token nil}"))], true),
            (vec![("a", Value::Map("{:code 200}")), ("a", Value::Map("{:code 423}"))], true),
            (vec![("a", Value::Seq("[\"l\" 5]")), ("a", Value::Seq("[]"))], true),
        ] {
            assert_eq!(several(&answers), expected, "{answers:?}");
        }
    }
}
