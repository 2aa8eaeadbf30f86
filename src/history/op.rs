//! One element of a history.
//!
//! Deliberately absent: what the nemesis says of its faults (`fault_event`).

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::fault_event::FaultEvent;
use crate::ids::{ClientId, FencingToken, HoldId, LockName, NodeId};
use crate::time::Nanos;

/// What is known of an operation at this point (Jepsen's meanings).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpType {
    /// It starts.
    Invoke,
    /// It certainly took effect.
    Ok,
    /// It certainly had no effect.
    Fail,
    /// It may have taken effect, or may yet; the process that issued it never acts again.
    Info,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum F {
    /// A client asks for the lock.
    Acquire,
    /// A client gives the lock back.
    Release,
    /// A signal (always `ok`, without invocation): the lock promises its holder another `valid-until` from now on, or
    /// the same one again after it had been suspect.
    Extend,
    /// A signal (always `ok`, without invocation): the lock told its holder that the servers are out of reach; the
    /// hold's `valid-until` is still in force.
    Suspect,
    /// A signal (always `ok`, without invocation): the lock told its holder that the hold is over.
    Lost,
    /// The item is read: by a client, or, as process `resource`, as the resource served (`ok`) or refused (`fail`) it.
    Read,
    /// The item is written: by a client, or, as process `resource`, as the resource accepted or refused it.
    Write,
    /// The nemesis applies a fault.
    Fault,
    /// The nemesis undoes a fault.
    Heal,
    /// A signal (always `ok`, without invocation): a client's own monitor saw that it had not run since `since`.
    Stall,
    /// A signal (always `info`, without invocation) of process `outside`: somebody else than the nemesis struck what
    /// the trial uses, at some time after `since`; `error` says what was seen.
    Outside,
    /// A signal (always `info`, without invocation), recorded by the environment: the client died. What its process had
    /// open may still take effect, its holds are over, and the process never acts again.
    Crash,
    /// A signal (without invocation) of a client's monitor: the program behind an adapter did what it may not, as
    /// `error` says. `ok`: it did no harm; `info`: it failed, and what it was asked is in doubt; `fail`: it
    /// contradicted the protocol, and nothing that it said can be believed.
    Adapter,
    /// A signal (without invocation) of process `inspector`: all lock servers were asked what they still have under the
    /// trial's lock names, after time enough for it to go by itself. `ok`: all answered; `info`: some did not, and
    /// `error` says why. What was found stands before it.
    Look,
    /// A signal (always `ok`, without invocation) of process `inspector`: a lock server still has something, as `left`
    /// says.
    Left,
}

impl fmt::Display for F {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Extend => "extend",
            Self::Suspect => "suspect",
            Self::Lost => "lost",
            Self::Read => "read",
            Self::Write => "write",
            Self::Fault => "fault",
            Self::Heal => "heal",
            Self::Stall => "stall",
            Self::Outside => "outside",
            Self::Crash => "crash",
            Self::Adapter => "adapter",
            Self::Look => "look",
            Self::Left => "left",
        })
    }
}

/// Who acts. A logical process does one thing at a time.
///
/// In files a client process is a number, the others are names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// A client's logical process. Starts as the client's own number; retires at `info`, and the client goes on as
    /// `number + clients`.
    Client(u32),
    /// Injects faults.
    Nemesis,
    /// The protected resource; its ops stand in the order in which it served them.
    Resource,
    /// The watch that each client keeps on its own progress.
    Monitor,
    /// Whoever else does something to what the trial uses.
    Outside,
    /// Looks at the lock servers when all is over.
    Inspector,
}

pub(super) const NAMED_PROCESSES: [(Process, &str); 5] = [
    (Process::Nemesis, "nemesis"),
    (Process::Resource, "resource"),
    (Process::Monitor, "monitor"),
    (Process::Outside, "outside"),
    (Process::Inspector, "inspector"),
];

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => write!(f, "{number}"),
            named => f.pad(NAMED_PROCESSES.iter().find(|(process, _)| process == named).map_or("", |(_, name)| name)),
        }
    }
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Client(number) => serializer.serialize_u32(*number),
            named => serializer.collect_str(named),
        }
    }
}

impl<'de> Deserialize<'de> for Process {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Process;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a process number, \"nemesis\", \"resource\", \"monitor\", \"outside\" or \"inspector\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Process, E> {
                u32::try_from(number)
                    .map(Process::Client)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Process, E> {
                NAMED_PROCESSES
                    .iter()
                    .find(|(_, name)| *name == text)
                    .map(|(process, _)| *process)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The item as one access saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ItemValue {
    /// Which item. Lock number N guards item N.
    pub item: u32,
    /// Units in stock: as read, or as written.
    pub stock: i64,
    /// Counts the accepted writes of the item: what a read saw, or what a write became. Absent where a write was not
    /// (or not known to be) accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// For a write: the version that its own hold read, and so carries forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub based_on: Option<u32>,
}

/// What a lock server still had when a trial was over: the payload of `left`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Left {
    /// At which server; absent for what a whole ensemble shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// What it is called there: a key, a znode's path.
    pub name: String,
    /// Whose it is, in the server's own terms: an owner token, a session; empty for what is nobody's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// How much longer it stays if nobody touches it, in nanoseconds; absent where it has no time to live of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_left: Option<u64>,
}

/// One element of a history: an operation starts or completes, or a signal arrives.
///
/// A large history keeps millions of them, so what few ops have stands apart, in [`Rare`]; `op.error` reads and writes
/// it all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Record", into = "Record")]
pub struct Op {
    /// Its place in the history: dense, from 0.
    pub index: u32,
    /// When, since the start of the run. All parties of a run share one monotonic clock.
    pub time: Nanos,
    /// Who acts.
    pub process: Process,
    /// What is known of it.
    pub kind: OpType,
    /// What it does.
    pub f: F,
    /// The client behind a client process or monitor; for the resource, the client it served.
    pub client: Option<ClientId>,
    /// The lock's name.
    pub lock: Option<LockName>,
    /// The attempt or hold that the op belongs to.
    pub hold: Option<HoldId>,
    /// The item read or written.
    pub value: Option<ItemValue>,
    /// The fencing token of the hold, where the lock gives one.
    pub token: Option<FencingToken>,
    rare: Apart,
}

/// What few ops have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// Until when the lock's API says that the hold is valid, as known at this op; on the timeline of `time`.
    pub valid_until: Option<Nanos>,
    /// For an acquire or a release: whether it is a reader's, who shares the lock with other readers.
    pub shared: bool,
    /// For a stall: when the client had last run; on the timeline of `time`.
    pub since: Option<Nanos>,
    /// For `fault` and `heal`: what the nemesis did.
    pub fault: Option<Box<FaultEvent>>,
    /// For `left`: what it is.
    pub left: Option<Box<Left>>,
    /// Why it failed or is in doubt, why the lock was lost, why an access was refused.
    pub error: Option<String>,
}

impl Rare {
    const NONE: Self = Self { valid_until: None, shared: false, since: None, fault: None, left: None, error: None };
}

/// Takes no room of its own until it is written to.
#[derive(Clone, Debug, Default)]
struct Apart(Option<Box<Rare>>);

impl PartialEq for Apart {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_deref().unwrap_or(&Rare::NONE) == other.0.as_deref().unwrap_or(&Rare::NONE)
    }
}

impl Eq for Apart {}

impl Deref for Op {
    type Target = Rare;

    fn deref(&self) -> &Rare {
        self.rare.0.as_deref().unwrap_or(&Rare::NONE)
    }
}

impl DerefMut for Op {
    fn deref_mut(&mut self) -> &mut Rare {
        self.rare.0.get_or_insert_default()
    }
}

/// An op as it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Op", rename_all = "kebab-case", deny_unknown_fields)]
struct Record {
    index: u32,
    time: Nanos,
    process: Process,
    #[serde(rename = "type")]
    kind: OpType,
    f: F,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<ClientId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<LockName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<HoldId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<ItemValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<FencingToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_until: Option<Nanos>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shared: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Nanos>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<Box<FaultEvent>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<Box<Left>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<Record> for Op {
    fn from(record: Record) -> Self {
        let Record { index, time, process, kind, f, client, lock, hold, value, token, .. } = record;
        let Record { valid_until, shared, since, fault, left, error, .. } = record;
        let rare = Rare { valid_until, shared, since, fault, left, error };
        let rare = Apart((rare != Rare::NONE).then(|| Box::new(rare)));
        Self { index, time, process, kind, f, client, lock, hold, value, token, rare }
    }
}

impl From<Op> for Record {
    fn from(op: Op) -> Self {
        let Op { index, time, process, kind, f, client, lock, hold, value, token, rare } = op;
        let Rare { valid_until, shared, since, fault, left, error } = rare.0.map(|rare| *rare).unwrap_or_default();
        Self {
            index,
            time,
            process,
            kind,
            f,
            client,
            lock,
            hold,
            value,
            token,
            valid_until,
            shared,
            since,
            fault,
            left,
            error,
        }
    }
}

impl Op {
    /// An op with nothing but the four fields that every op has; the recorder gives it its index.
    pub fn new(time: Nanos, process: Process, kind: OpType, f: F) -> Self {
        Self {
            index: 0,
            time,
            process,
            kind,
            f,
            client: None,
            lock: None,
            hold: None,
            value: None,
            token: None,
            rare: Apart::default(),
        }
    }

    /// Gives back the room of what was written and is nothing.
    pub(super) fn tidy(&mut self) {
        self.rare.0.take_if(|rare| **rare == Rare::NONE);
    }

    /// Whether it is an event of its own, without invocation.
    pub fn is_signal(&self) -> bool {
        matches!(
            self.f,
            F::Extend | F::Suspect | F::Lost | F::Stall | F::Outside | F::Crash | F::Adapter | F::Look | F::Left
        ) || self.process == Process::Resource
    }

    /// Moves all instants from a clock's own origin to `start`, the start of the run.
    pub fn rebase(&mut self, start: Nanos) {
        let rebase = |instant: &mut Nanos| *instant = Nanos(instant.0.saturating_sub(start.0));
        rebase(&mut self.time);
        let Some(rare) = &mut self.rare.0 else { return };
        rare.valid_until.as_mut().map(rebase);
        rare.since.as_mut().map(rebase);
        let probes = rare.fault.iter_mut().flat_map(|fault| &mut fault.probes);
        probes.filter_map(|probe| probe.clock.as_mut()).for_each(|reading| rebase(&mut reading.at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_ops_fit() {
        // What a history takes in memory is decided here.
        assert!(size_of::<Op>() <= 112, "{}", size_of::<Op>());
    }

    #[test]
    fn what_few_ops_have_takes_no_room_where_it_is_nothing() {
        let blank = Op::new(Nanos(5), Process::Client(1), OpType::Ok, F::Release);
        let mut op = blank.clone();
        op.error = None;
        assert_eq!(op, blank);
        op.tidy();
        assert!(op.rare.0.is_none());
        op.error = Some("gone".to_owned());
        op.tidy();
        assert_eq!(op.error.as_deref(), Some("gone"));
        assert_ne!(op, blank);
    }

    #[test]
    fn fields_stand_in_a_file_in_their_order_and_no_others() {
        let text = r#"{"index":3,"time":5,"process":1,"type":"fail","f":"write","client":1,"lock":"l","hold":"c1-2","value":{"item":1,"stock":-4,"version":2,"based-on":1},"token":7,"valid-until":9,"since":4,"error":"gone"}"#;
        let op: Op = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&op).unwrap(), text);
        let unknown = serde_json::from_str::<Op>(&text.replace("since", "sense")).unwrap_err().to_string();
        assert!(unknown.contains("unknown field `sense`"), "{unknown}");
    }
}
