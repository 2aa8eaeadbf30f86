//! The protected resource: items that are read and written one access after another and, when told to, refuse stale
//! ones.
//!
//! What an item is depends on the workload: a stock, a register, or a file of so many lines. A write of a file says how
//! many lines it has then, as of a program that writes its line where it had seen the end: what others put there is
//! gone. A pure state machine; environments put a network in front of it.

use std::collections::BTreeMap;

use super::{Access, Action};
use crate::history::{F, ItemValue, Op, OpType, Process};
use crate::ids::FencingToken;
use crate::scenario::{Fencing, WorkloadKind};
use crate::time::Nanos;

/// The inventory and its policy.
#[derive(Clone, Debug)]
pub struct Resource {
    fencing: Fencing,
    items: BTreeMap<u32, Item>,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Units in stock, a register's value, a file's lines.
    pub stock: i64,
    /// Counts accepted writes.
    pub version: u32,
    seen: Option<FencingToken>,
    /// The highest token of a hold that is no reader's.
    seen_alone: Option<FencingToken>,
    written: Option<FencingToken>,
}

impl Item {
    /// An item that nobody has accessed.
    pub fn new(name: impl Into<String>, description: impl Into<String>, stock: i64) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            stock,
            version: 0,
            seen: None,
            seen_alone: None,
            written: None,
        }
    }
}

/// Why the resource refused an access.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such item.
    #[error("there is no item {0}")]
    NoSuchItem(u32),
    /// The token is below one that was served before.
    #[error("stale token {token}: token {highest} was served before")]
    StaleToken {
        /// The access's token.
        token: FencingToken,
        /// The highest token served.
        highest: FencingToken,
    },
    /// The write does not follow from the current value.
    #[error("stale value: version {based_on} was read, the item is at version {current}")]
    StaleValue {
        /// The version that the write's hold read.
        based_on: u32,
        /// The item's version.
        current: u32,
    },
}

impl Resource {
    /// A resource with items 1 to `items`, as this workload finds them.
    pub fn new(kind: WorkloadKind, fencing: Fencing, items: u32) -> Self {
        let item = |number| (number, Item::new(format!("Item {number}"), "An item under trial", kind.initial()));
        Self { fencing, items: (1..=items).map(item).collect() }
    }

    /// The items, by number.
    pub fn items(&self) -> impl Iterator<Item = (u32, &Item)> {
        self.items.iter().map(|(number, item)| (*number, item))
    }

    /// Adds an item; gives it back if the number is taken.
    ///
    /// # Errors
    /// The item itself, if there is one of that number already.
    pub fn add(&mut self, number: u32, item: Item) -> Result<(), Item> {
        match self.items.entry(number) {
            std::collections::btree_map::Entry::Occupied(_) => Err(item),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(item);
                Ok(())
            }
        }
    }

    /// Serves one access at `now`: the answer, and the op to record in the order of service.
    pub fn serve_and_tell(&mut self, access: &Access, now: Nanos) -> (Result<ItemValue, Refusal>, Op) {
        let served = self.serve(access);
        let (f, asked) = match access.action {
            Action::Read => (F::Read, None),
            Action::Write { stock, based_on } => (F::Write, Some((stock, based_on))),
        };
        let kind = if served.is_ok() { OpType::Ok } else { OpType::Fail };
        let mut op = Op::new(now, Process::Resource, kind, f);
        op.client = Some(access.client);
        op.hold = Some(access.hold.clone());
        op.token = access.token;
        op.error = served.as_ref().err().map(ToString::to_string);
        let there = || self.items.get(&access.item).map_or(0, |item| item.stock);
        op.value = Some(served.as_ref().copied().unwrap_or_else(|_| ItemValue {
            item: access.item,
            stock: asked.map_or_else(there, |(stock, _)| stock),
            version: None,
            based_on: asked.map(|(_, based_on)| based_on),
        }));
        (served, op)
    }

    /// Serves one access.
    ///
    /// # Errors
    /// The policy refuses it, or there is no such item; nothing was changed.
    pub fn serve(&mut self, access: &Access) -> Result<ItemValue, Refusal> {
        let item = self.items.get_mut(&access.item).ok_or(Refusal::NoSuchItem(access.item))?;
        let highest = match (self.fencing, access.action) {
            // Readers hold together: a lower token than another reader's is not stale.
            (Fencing::Access, _) if access.shared => item.seen_alone,
            (Fencing::Access, _) => item.seen,
            (Fencing::Write, Action::Write { .. }) => item.written,
            _ => None,
        };
        // An access without token has nothing to compare: a lock that gives no token cannot be fenced this way.
        if let (Some(token), Some(highest)) = (access.token, highest)
            && token < highest
        {
            return Err(Refusal::StaleToken { token, highest });
        }
        if let (Fencing::Cas, Action::Write { based_on, .. }) = (self.fencing, access.action)
            && based_on != item.version
        {
            return Err(Refusal::StaleValue { based_on, current: item.version });
        }
        item.seen = item.seen.max(access.token);
        if !access.shared {
            item.seen_alone = item.seen_alone.max(access.token);
        }
        let based_on = match access.action {
            Action::Read => None,
            Action::Write { stock, based_on } => {
                item.written = item.written.max(access.token);
                item.stock = stock;
                item.version += 1;
                Some(based_on)
            }
        };
        Ok(ItemValue { item: access.item, stock: item.stock, version: Some(item.version), based_on })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClientId, HoldId};

    const READ: Action = Action::Read;

    fn write(based_on: u32) -> Action {
        Action::Write { stock: 5, based_on }
    }

    /// Serves accesses with these tokens and actions in turn; whether each was accepted.
    fn accepted(fencing: Fencing, accesses: &[(u64, Action)]) -> Vec<bool> {
        let mut resource = Resource::new(WorkloadKind::Inventory, fencing, 1);
        let access = |(token, action)| Access {
            item: 1,
            hold: HoldId::new("c1-1"),
            client: ClientId(1),
            token: Some(FencingToken(token)),
            shared: false,
            action,
        };
        accesses.iter().map(|given| resource.serve(&access(*given)).is_ok()).collect()
    }

    #[test]
    fn none_accepts_everything() {
        assert_eq!(accepted(Fencing::None, &[(9, write(0)), (3, write(0)), (1, READ)]), [true; 3]);
    }

    #[test]
    fn write_refuses_writes_below_the_highest_written() {
        let served = accepted(Fencing::Write, &[(5, READ), (3, write(0)), (4, write(0)), (3, write(0)), (3, READ)]);
        assert_eq!(served, [true, true, true, false, true], "a read with token 5 must not raise the bar");
    }

    #[test]
    fn access_refuses_whatever_is_below_the_highest_seen() {
        let served =
            accepted(Fencing::Access, &[(5, READ), (3, write(0)), (3, READ), (5, write(0)), (6, READ), (5, write(1))]);
        assert_eq!(served, [true, false, false, true, true, false]);
    }

    #[test]
    fn readers_are_compared_with_writers_only() {
        let mut resource = Resource::new(WorkloadKind::Inventory, Fencing::Access, 1);
        let mut served = |token, shared, action| {
            let token = Some(FencingToken(token));
            let access = Access { item: 1, hold: HoldId::new("c1-1"), client: ClientId(1), token, shared, action };
            resource.serve(&access).is_ok()
        };
        assert!(served(5, true, READ) && served(3, true, READ), "readers in any order");
        assert!(!served(4, false, write(0)) && served(6, false, write(0)), "a writer older than a reader is stale");
        assert!(!served(5, true, READ) && served(7, true, READ), "a reader older than a writer is stale");
    }

    #[test]
    fn cas_refuses_writes_that_do_not_follow_from_the_current_value() {
        assert_eq!(accepted(Fencing::Cas, &[(9, write(0)), (9, write(0)), (1, write(1))]), [true, false, true]);
    }

    #[test]
    fn without_a_token_there_is_nothing_to_fence_with() {
        let mut resource = Resource::new(WorkloadKind::Inventory, Fencing::Access, 1);
        let mut access = Access {
            item: 1,
            hold: HoldId::new("c1-1"),
            client: ClientId(1),
            token: Some(FencingToken(7)),
            shared: false,
            action: READ,
        };
        assert!(resource.serve(&access).is_ok());
        access.token = None;
        assert!(resource.serve(&access).is_ok());
    }

    #[test]
    fn a_refused_write_changes_nothing() {
        let mut resource = Resource::new(WorkloadKind::Inventory, Fencing::Cas, 1);
        let before = resource.items().map(|(_, item)| item.clone()).collect::<Vec<_>>();
        let access = Access {
            item: 1,
            hold: HoldId::new("c1-1"),
            client: ClientId(1),
            token: None,
            shared: false,
            action: write(3),
        };
        assert_eq!(resource.serve(&access), Err(Refusal::StaleValue { based_on: 3, current: 0 }));
        assert_eq!(resource.items().map(|(_, item)| item.clone()).collect::<Vec<_>>(), before);
    }

    #[test]
    fn an_item_is_added_once() {
        let mut resource = Resource::new(WorkloadKind::Inventory, Fencing::None, 1);
        assert!(resource.add(1, Item::new("Lamp", "", 1)).is_err());
        assert!(resource.add(2, Item::new("Lamp", "", 1)).is_ok());
    }
}
