//! Who acts: the process, which may have a name, and the owner behind it.

use super::super::fields::Fields;
use super::super::notation::Value;
use super::super::survey;
use super::{Assembly, Life, NAMED, Owner};
use crate::ids::{ClientId, LockName};

impl Assembly<'_> {
    /// Whether a release by who holds nothing may be that of an owner's that went by another process number.
    pub(super) fn may_be_anothers(&self, client: ClientId, process: u32, lock: &LockName) -> bool {
        let owned = self.clients.get(&client);
        if owned.is_some_and(|owned| owned.last.iter().any(|(of, _)| of == lock)) {
            return false;
        }
        if self.places.owners {
            // It never said whose it is.
            return self.processes.get(&process).is_none_or(|life| life.client.is_none());
        }
        let left_behind = |(number, life): (&u32, &Life)| {
            let owned = self.clients.get(&ClientId(*number));
            life.retired
                && *number < process
                && owned.is_some_and(|owned| {
                    owned.held.iter().any(|held| held.lock == *lock)
                        || owned.doubtful.iter().any(|(of, _)| of == lock)
                        || owned.abandoned.contains(lock)
                })
        };
        self.naming.threads.is_none() && self.processes.iter().any(left_behind)
    }

    /// The process as a number; nothing for one that is no client.
    pub(super) fn process(&mut self, process: &Value<'_>) -> Result<Option<u32>, String> {
        match process {
            Value::Number(text) => {
                let number = process.number().ok_or_else(|| no_process(process))?;
                let number = u32::try_from(number)
                    .map_err(|_| format!("its :process is {text}; numbers go from 0 to {}", u32::MAX))?;
                if !self.names.is_empty() && self.names.values().any(|named| *named == number) {
                    return Err(format!(
                        "its :process is {text}, and other processes have names; all need one or none"
                    ));
                }
                Ok(Some(number))
            }
            Value::Word(name) if matches!(*name, "nemesis" | "resource" | "monitor") => Ok(None),
            Value::Word(_) | Value::Text(_) => {
                let name = process.name();
                if let Some(number) = self.names.get(name.as_ref()) {
                    return Ok(Some(*number));
                }
                let number = self.names.len() as u32 + if self.places.numbers { NAMED } else { 0 };
                if self.processes.contains_key(&number) {
                    return Err(format!(
                        "its :process is {}, and others have numbers; all need one or none",
                        process.written()
                    ));
                }
                self.processes.entry(number).or_default().named = true;
                self.names.insert(name.clone().into_owned(), number);
                self.found.named.push((ClientId(number), name.into_owned()));
                Ok(Some(number))
            }
            other => Err(no_process(other)),
        }
    }

    pub(super) fn client(&mut self, owner: Owner) -> ClientId {
        // A history whose ops name no owners has its processes for clients, under their own numbers.
        if let (Owner::Process(process), false, None) = (&owner, self.places.owners, self.naming.threads) {
            return ClientId(*process);
        }
        // Who is called `c3` in a file of ours is c3.
        if let (true, Owner::Named(name)) = (self.ours, &owner)
            && let Some(number) = name.strip_prefix('c').and_then(|number| number.parse().ok())
        {
            return ClientId(number);
        }
        let next = ClientId(self.owners.len() as u32 + 1);
        let named = if let Owner::Named(name) = &owner { Some(name.clone()) } else { None };
        let client = *self.owners.entry(owner).or_insert(next);
        if let (Some(name), true) = (named, client == next) {
            self.found.named.push((client, name));
        }
        client
    }

    /// The owner as far as it is known.
    pub(super) fn owner(&mut self, process: u32, fields: &Fields<'_>) -> Option<ClientId> {
        if self.places.owners {
            if let Some(owner) = survey::owner(fields, self.keys) {
                let owner = Owner::Named(owner.name().into_owned());
                return Some(match self.owners.get(&owner) {
                    Some(client) => *client,
                    None => self.client(owner),
                });
            }
            if let Some(threads) = self.naming.threads {
                let thread = process % threads.max(1);
                let of_thread =
                    |(number, life): (&u32, &Life)| life.client.filter(|_| number % threads.max(1) == thread);
                if let Some(client) = self.processes.iter().find_map(of_thread) {
                    return Some(client);
                }
            }
            let known = self.processes.get(&process).and_then(|life| life.client);
            if known.is_some() {
                return known;
            }
            let name = fields.process.as_ref()?.name();
            let named = self.places.owner_of.get(name.as_ref())?.clone()?;
            return Some(self.client(Owner::Named(named)));
        }
        let threads = self.naming.threads?;
        Some(self.client(Owner::Thread(process % threads.max(1))))
    }
}

pub(super) fn no_process(process: &Value<'_>) -> String {
    format!("its :process is {}; it is a number, or a name such as :nemesis", process.written())
}
