//! What one op says, by the keys under which harnesses say it; what it means is decided elsewhere.

use super::super::OpType;
use super::naming::{Keys, Role, Unit};
use super::notation::{Cursor, Stop, Value};

/// One op. Every field but the first three may be absent, or under another key than is looked for.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub process: Option<Value<'a>>,
    pub kind: Option<Value<'a>>,
    pub f: Option<Value<'a>>,
    pub value: Option<Value<'a>>,
    pub time: Option<Value<'a>>,
    pub index: Option<Value<'a>>,
    pub error: Option<Value<'a>>,
    pub lock: Option<Value<'a>>,
    pub owner: Option<Value<'a>>,
    pub token: Option<Value<'a>>,
    pub valid_until: Option<Value<'a>>,
    pub ttl: Option<(Value<'a>, Unit)>,
    pub permits: Option<(Value<'a>, bool)>,
}

impl<'a> Fields<'a> {
    /// Reads an op; the cursor is on its map or on the map's tag.
    pub(super) fn read(cursor: &mut Cursor<'a>, keys: &Keys) -> Result<Self, Stop> {
        let mut fields = Self::default();
        let mut ranks = [u8::MAX; 5];
        cursor.past_tags()?;
        if cursor.peek() != Some(b'{') {
            let reason = "not an op; an op is a map such as {:process 0, :type :invoke, :f :acquire}";
            return Err(if cursor.peek().is_none() { Stop::End } else { Stop::Bad(cursor.at, reason) });
        }
        let opened = cursor.at;
        cursor.at += 1;
        while let Some(key) = cursor.key()? {
            let key = key.as_ref();
            // A namespace is seldom: it is looked for in keys that are not known without.
            let own = || key.rsplit_once('/').map_or(key, |(_, own)| own);
            let key = if is_plain(key) || keys.role(key).is_some() { key } else { own() };
            let slot = match key {
                "process" => &mut fields.process,
                "type" => &mut fields.kind,
                "f" => &mut fields.f,
                "value" => &mut fields.value,
                "time" => &mut fields.time,
                "index" => &mut fields.index,
                "error" => &mut fields.error,
                other => {
                    match keys.role(other) {
                        Some((role, rank)) => fields.take(cursor, role, rank, &mut ranks)?,
                        None => skip(cursor, opened)?,
                    }
                    continue;
                }
            };
            let at = cursor.at;
            if slot.is_some() {
                return Err(Stop::Bad(at, "not EDN: a key stands twice in a map"));
            }
            *slot = Some(value(cursor, opened)?);
            // A role may be given to one of these too: `--owner-key process`.
            if let Some((role, rank)) = keys.chosen(key) {
                cursor.at = at;
                fields.take(cursor, role, rank, &mut ranks)?;
            }
        }
        cursor.close(b'}')?;
        Ok(fields)
    }

    fn take(&mut self, cursor: &mut Cursor<'a>, role: Role, rank: u8, ranks: &mut [u8; 5]) -> Result<(), Stop> {
        let value = value(cursor, cursor.at)?;
        let place = match role {
            Role::Lock => 0,
            Role::Owner => 1,
            Role::Token => 2,
            Role::ValidUntil | Role::Ttl(_) => 3,
            Role::Permits(_) => 4,
        };
        if value == Value::Nil || ranks[place] < rank {
            return Ok(());
        }
        ranks[place] = rank;
        match role {
            Role::Lock => self.lock = Some(value),
            Role::Owner => self.owner = Some(value),
            Role::Token => self.token = Some(value),
            Role::ValidUntil => self.valid_until = Some(value),
            Role::Ttl(unit) => self.ttl = Some((value, unit)),
            Role::Permits(sure) => self.permits = Some((value, sure)),
        }
        Ok(())
    }

    /// The same fields, with those that the map in `:value` says and the op itself does not.
    pub(super) fn within(&self, keys: &Keys, role: fn(&Role) -> bool) -> Option<(Role, Value<'a>)> {
        let Some(map @ Value::Map(_)) = &self.value else { return None };
        let found = map.entries().filter(|(_, value)| *value != Value::Nil).filter_map(|(key, value)| {
            let key = key.rsplit_once('/').map_or(key.as_ref(), |(_, key)| key).to_owned();
            let (found, rank) = keys.role_within(&key).filter(|(found, _)| role(found))?;
            Some((rank, found, value))
        });
        found.min_by_key(|(rank, ..)| *rank).map(|(_, role, value)| (role, value))
    }

    /// What is known of the op at this point.
    pub(super) fn kind(&self) -> Option<OpType> {
        const KINDS: [(&str, OpType); 4] =
            [("invoke", OpType::Invoke), ("ok", OpType::Ok), ("fail", OpType::Fail), ("info", OpType::Info)];
        let word = self.kind.as_ref()?.word()?;
        let is = |(kind, _): &&(&str, OpType)| *kind == word;
        // As JSON of EDN may have it, and as other programs write words.
        let plain = word.strip_prefix(':').unwrap_or(word);
        let is_like = |(kind, _): &&(&str, OpType)| kind.eq_ignore_ascii_case(plain);
        KINDS.iter().find(is).or_else(|| KINDS.iter().find(is_like)).map(|(_, kind)| *kind)
    }
}

fn value<'a>(cursor: &mut Cursor<'a>, opened: usize) -> Result<Value<'a>, Stop> {
    cursor.value()?.ok_or_else(|| odd(cursor, opened))
}

fn skip(cursor: &mut Cursor<'_>, opened: usize) -> Result<(), Stop> {
    match cursor.seek_form()? {
        None | Some(b'}' | b']' | b')') => Err(odd(cursor, opened)),
        Some(_) => cursor.skip(),
    }
}

/// A key without a value: at the end of the text the value may be yet to come.
fn odd(cursor: &Cursor<'_>, opened: usize) -> Stop {
    if cursor.peek().is_none() { Stop::End } else { Stop::Bad(opened, "not EDN: a key in a map has no value") }
}

/// Whether a key is one that every history has.
fn is_plain(key: &str) -> bool {
    matches!(key, "process" | "type" | "f" | "value" | "time" | "index" | "error")
}
